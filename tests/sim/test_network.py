"""What each fault does to messages, pipes, clocks and peers."""

from __future__ import annotations

from random import Random

import pytest

from p2pfed.sim.faults import Fault
from p2pfed.sim.network import Network
from p2pfed.sim.scenario import DRAWN, Scenario, draw_fault, random_scenario, verify_scenario
from p2pfed.sim.world import START_MS, World

CALM = (3, 3)  # ms


def network(*faults: Fault) -> Network:
    return Network(Scenario(peers=5, delay_ms=CALM, faults=faults), Random(1))


def arrives(wires: Network, sender: int, receiver: int, kind: str = "prevote", at_ms: int = 10) -> bool:
    return bool(wires.delays(sender, receiver, kind, 100, at_ms))


def test_a_calm_network_delivers_once_within_its_bounds() -> None:
    wires = Network(Scenario(delay_ms=(2, 5)), Random(1))
    assert {wires.delays(0, 1, "prevote", 100, 0) for _ in range(200)} == {(2,), (3,), (4,), (5,)}


@pytest.mark.parametrize(
    ("fault", "cut"),
    [
        (Fault("one_way", 0, 50, (0, 1)), {(0, 1)}),
        (Fault("partition", 0, 50, (0, 1)), {(a, b) for a in (0, 1) for b in (2, 3, 4)}),
        (Fault("ring", 0, 50, (0, 1, 2, 3, 4)), {(0, 2), (0, 3), (1, 3), (1, 4), (2, 4)}),
        (Fault("bridge", 0, 50, (0, 1, -1, 4)), {(a, b) for a in (0, 1) for b in (2, 3)}),
        (Fault("flapping", 0, 50, (0,), amount=20), {(0, peer) for peer in (1, 2, 3, 4)}),
    ],
)
def test_topology_cuts_what_it_names_until_it_is_over(fault: Fault, cut: set[tuple[int, int]]) -> None:
    wires = network(fault)
    both = cut if fault.kind == "one_way" else cut | {(b, a) for a, b in cut}
    pairs = {(a, b) for a in range(5) for b in range(5) if a != b}
    assert {pair for pair in pairs if not arrives(wires, *pair)} == both
    assert {pair for pair in pairs if wires.is_cut(*pair, 10)} == both | {(b, a) for a, b in both}
    assert wires.fired[0] > 0
    assert all(arrives(wires, *pair, at_ms=50) for pair in pairs)


def test_flapping_and_disconnecting_tear_pipes_and_flapping_lets_them_come_back() -> None:
    wires = network(Fault("flapping", 0, 100, (0,), amount=20), Fault("disconnect", 60, 90, (4,)))
    for pair in ((0, 1), (1, 2), (1, 4)):
        wires.open(*pair)
    assert wires.tears() == (0, 40, 60, 80)
    assert wires.broken(5) == ((0, 1),)
    assert wires.broken(25) == ()
    assert not wires.is_cut(0, 1, 25)
    assert wires.broken(65) == ((1, 4),)
    assert wires.is_cut(1, 4, 65)


def test_chance_strikes_its_share_of_its_receivers() -> None:
    wires = network(Fault("loss", 0, 50, (1,), permille=300))
    lost = sum(not arrives(wires, 0, 1) for _ in range(1_000))
    assert 250 < lost < 350
    assert all(arrives(wires, 1, 0) for _ in range(50))
    assert wires.fired == [lost]


def test_a_filter_knows_kinds_of_messages() -> None:
    wires = network(Fault("filter", 0, 50, messages=("prevote", "polka")))
    kinds = ("prevote", "polka", "precommit", "bulk")
    assert [arrives(wires, 0, 1, kind) for kind in kinds] == [False, False, True, True]


def test_doubles_come_later_and_delays_have_a_heavy_tail() -> None:
    twice = network(Fault("duplicate", 0, 50, amount=40)).delays(0, 1, "prevote", 100, 10)
    assert len(twice) == 2
    assert 3 == twice[0] <= twice[1] < 43
    wires = network(Fault("delay", 0, 50, amount=100))
    waits = sorted(wires.delays(0, 1, "prevote", 100, 10)[0] for _ in range(2_000))
    assert waits[1_000] < 200
    assert 2_000 < waits[-1] <= 5_003
    late = network(Fault("reorder", 0, 50, amount=900))
    assert 400 < max(late.delays(0, 1, "prevote", 100, 10)[0] for _ in range(100)) < 903


def test_a_narrow_pipe_sends_one_after_the_other() -> None:
    wires = network(Fault("bandwidth", 0, 500, (0,), amount=10_000))  # 100 bytes take 10 ms.
    assert [wires.delays(0, 1, "prevote", 100, 0) for _ in range(3)] == [(13,), (23,), (33,)]
    assert wires.delays(1, 0, "prevote", 100, 0) == (3,)
    assert wires.delays(0, 1, "prevote", 100, 100) == (13,)


def test_what_strikes_peers_strikes_and_passes() -> None:
    faults = (
        Fault("pause", 200, 900, (0,)),
        Fault("clock", 100, 700, (1,), amount=30_000),
        Fault("slow", 100, 700, (2,), amount=300),
        Fault("kill", 300, 800, (3,)),
    )
    world = World(Scenario(heights=8, faults=faults))
    said: list[int] = []
    told = world.told

    def listening(peer, event, line):
        if peer.number == 0 and 200 <= world.virtual_ms < 900:
            said.append(world.virtual_ms)
        told(peer, event, line)

    world.told = listening  # type: ignore[method-assign]
    result = world.run()
    assert result.violations == ()
    assert said == []
    assert all(result.fired)
    assert result.crashes == 1
    assert world.peers[1]._clock_ms >= 30_000 + START_MS + 400  # It waits there for the world to catch up.
    assert result.virtual_ms > 900


def test_every_drawn_scenario_makes_sense_and_all_kinds_are_drawn() -> None:
    kinds: set[str] = set()
    for seed in range(300):
        scenario = random_scenario(seed, 1 + seed % 7, 5, ())
        verify_scenario(scenario, f"seed {seed}")
        kinds |= {fault.kind for fault in scenario.faults}
        assert all(fault.until_ms <= 20_000 for fault in scenario.faults)
    assert kinds == set(DRAWN)
    assert draw_fault(Random(1), "old_image", 4, 3, 5_000).peers[0] < 3
