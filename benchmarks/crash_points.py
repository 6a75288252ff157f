"""Cut the power of simulated peers inside their writes; see what they sign and how soon they are back.

`python benchmarks/crash_points.py --seeds 1000 [--seed 1] [--heights 5] [--json]`

In each run every one of four peers dies at a crash point that is drawn among all that it passes, half of them
again as they come back, and once at a point that is drawn by name. Every tenth seed has eleven heights, so
that models are deleted, and cuts the power of all four at one moment too.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from random import Random
from statistics import median

from p2pfed.adversary.effects import Boast
from p2pfed.chain.state import ChainState
from p2pfed.node.facts import Fact, Listening
from p2pfed.sim.faults import Fault
from p2pfed.sim.peer import SimPeer
from p2pfed.sim.power import WRITE
from p2pfed.sim.scenario import Crash, Scenario
from p2pfed.sim.world import World
from p2pfed.storage.crash_points import NAMES
from p2pfed.types.block import Block

PEERS = 4
POINTS_PER_HEIGHT = 70  # Of one peer when nothing goes wrong; a count above all that it passes never strikes.
DOWN_MS = (100, 400)
LONG_HEIGHTS = 11  # Beyond retention: a model is pruned.
RECOVERY_MS_MAX = 2_000
# Not in a simulated peer: founding a home, and what a peer writes only when it joins or fetches a model.
NOT_AT_WORK = ("key", "genesis", "meta", "held", "file")
AT_WORK = tuple(
    name for name in NAMES if name.partition(".")[0] not in NOT_AT_WORK and name != "log.ended"
)  # An `ended` waits in memory: a crash there is one between two effects.


class Watched(World):
    """A world that notes, for each life after a crash, when it spoke and when it stored a block."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self.spoke_ms: list[int] = []
        self.stored_ms: list[int] = []
        self.listened_ms: list[int] = []
        self._lives: dict[int, int] = {}
        self._listens: set[int] = set()

    def observed(self, peer: SimPeer, fact: Fact | Boast) -> None:
        super().observed(peer, fact)
        if isinstance(fact, Listening):
            self._listens.add(peer.number)

    def died(self, peer: SimPeer, down_ms: int) -> None:
        self._take_down(peer)
        super().died(peer, down_ms)
        self._lives[peer.number] = -1

    def stored(self, peer: SimPeer, block: Block, state: ChainState) -> None:
        super().stored(peer, block, state)
        if self._lives.get(peer.number) == -1:
            self._lives[peer.number] = self.now_ms - peer.started_ms

    def finish(self) -> None:
        for peer in self.peers:
            self._take_down(peer)

    def _take_down(self, peer: SimPeer) -> None:
        """Take down the figures of a life that ends; one that was cut short before it spoke has none."""
        took_ms = self._lives.pop(peer.number, None)
        if took_ms is None:
            return
        by_rule = peer.number in self._listens  # R6: it must be silent for two seconds of this preset.
        self._listens.discard(peer.number)
        if peer.spoke_ms is not None:
            (self.listened_ms if by_rule else self.spoke_ms).append(peer.spoke_ms - peer.started_ms)
        if took_ms >= 0:
            self.stored_ms.append(took_ms)


def scenario_of(seed: int, heights: int) -> Scenario:
    dice = Random(seed)
    crashes: list[Crash] = []
    for peer in range(PEERS):
        number = dice.randrange(POINTS_PER_HEIGHT * heights)
        crashes.append(Crash(peer, number, dice.randint(*DOWN_MS), WRITE))
        if dice.random() < 0.5:
            again = number + dice.randint(1, 12)
            crashes.append(Crash(peer, again, dice.randint(*DOWN_MS), WRITE))
        crashes.append(Crash(peer, dice.randint(0, 3), dice.randint(*DOWN_MS), dice.choice(AT_WORK)))
    faults: tuple[Fault, ...] = ()
    if seed % 10 == 0:
        from_ms = dice.randint(100, 700 * heights)
        heights = max(heights, LONG_HEIGHTS)
        faults = (Fault("kill", from_ms, from_ms + dice.randint(100, 1_000), tuple(range(PEERS))),)
    return Scenario(peers=PEERS, heights=heights, crashes=tuple(crashes), faults=faults, seed=seed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--heights", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    points: Counter[str] = Counter()
    spoke_ms: list[int] = []
    stored_ms: list[int] = []
    listened_ms: list[int] = []
    bad: list[tuple[int, str]] = []
    deaths = virtual_ms = blocks = 0
    started_s = time.process_time()
    for seed in range(chosen.seed, chosen.seed + chosen.seeds):
        world = Watched(scenario_of(seed, chosen.heights))
        result = world.run()
        world.finish()
        bad += [(seed, violation) for violation in result.violations]
        points.update(name for peer in world.peers for name in peer.switch.struck)
        deaths += result.crashes
        virtual_ms += result.virtual_ms
        blocks += sum(result.heights)
        spoke_ms += world.spoke_ms
        stored_ms += world.stored_ms
        listened_ms += world.listened_ms
        if not chosen.json and (seed - chosen.seed) % 50 == 49:
            print(f"{seed - chosen.seed + 1} seeds, {deaths} crashes, {len(bad)} violations", flush=True)
    late = sum(took > RECOVERY_MS_MAX for took in spoke_ms)
    report = {
        "schema": "p2pfed.crash-points/1",
        "seeds": chosen.seeds,
        "seed": chosen.seed,
        "heights": chosen.heights,
        "crashes": deaths,
        "in_writes": sum(points.values()),
        "points": {name: points[name] for name in AT_WORK},
        "violations": bad[:20],
        "signed_twice": sum("signed twice" in text or "went back" in text for _, text in bad),
        "lives": len(spoke_ms),
        "speaks_again_ms_median": median(spoke_ms),
        "speaks_again_ms_worst": max(spoke_ms),
        "later_than_2_s": late,
        "listened_by_r6": len(listened_ms),
        "speaks_after_listening_ms_worst": max(listened_ms, default=0),
        "next_block_ms_median": median(stored_ms),
        "next_block_ms_worst": max(stored_ms),
        "blocks": blocks,
        "virtual_s": virtual_ms // 1000,
        "cpu_s": round(time.process_time() - started_s, 1),
    }
    print(json.dumps(report) if chosen.json else json.dumps(report, indent=2))
    missed = [name for name in AT_WORK if not points[name]]
    if missed:
        print(f"never struck: {', '.join(missed)}", file=sys.stderr)
    return 1 if bad or late else 0


if __name__ == "__main__":
    sys.exit(main())
