"""What nodes cost is a part of what a run costs, and no trace knows of it."""

from __future__ import annotations

import time

from p2pfed.node.events import Event, Started
from p2pfed.sim.meter import ONE_IN, Meter
from p2pfed.sim.scenario import Scenario
from p2pfed.sim.world import World


class Busy:
    """Takes steps of a millisecond of CPU."""

    def step(self, event: Event, now_ms: int) -> int:
        end_ns = time.process_time_ns() + 1_000_000
        while time.process_time_ns() < end_ns:
            pass
        return now_ms


def test_steps_stand_for_the_others_and_work_counts_whole() -> None:
    meter = Meter()
    assert [meter.step(Busy(), Started(), at) for at in range(2 * ONE_IN)] == list(range(2 * ONE_IN))
    assert 0.001 * 2 * ONE_IN <= meter.cpu_s < 0.002 * 2 * ONE_IN
    before_s = meter.cpu_s
    assert meter.work(lambda: Busy().step(Started(), 5)) == 5
    assert 0.001 <= meter.cpu_s - before_s < 0.01


def test_the_nodes_of_a_run_cost_less_than_the_run() -> None:
    started_s = time.process_time()
    world = World(Scenario(heights=3))
    world.run()
    assert 0 < world.meter.cpu_s < time.process_time() - started_s
