"""Play the small model whole, or sample larger worlds, and count what it shows; in the folder `tests`:

`python -m model.walk`. docs/qa/agreement.md says how it counts and holds the figures.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from dataclasses import asdict, dataclass
from itertools import permutations
from random import Random

from model.votes import (
    Cert,
    History,
    Moves,
    Round,
    World,
    commits_of,
    convicted_power,
    disagreements,
    is_amnesiac,
    polkas_of,
    precommit_moves,
    prevote_moves,
    rounds_after,
    used_polkas,
)


@dataclass
class Counts:
    """What a walk found: runs, those in which a correct voter can be convicted, and those that fork.

    `pairs` are the disagreeing pairs of commit certificates, of which a run may have several; `unconvicted`
    the forked runs with a pair that convicts no more than a third; `least_share` the least share convicted.
    """

    runs: int = 0
    framed: int = 0
    forked: int = 0
    pairs: int = 0
    unconvicted: int = 0
    least_share: float | None = None

    def add(self, times: int, *, is_framed: bool, powers: list[int], total: int) -> None:
        """Count a run that stands for `times`; `powers` are what each of its disagreements convicts."""
        self.runs += times
        self.framed += times * is_framed
        if powers:
            self.forked += times
            self.pairs += times * len(powers)
            self.unconvicted += times * (3 * min(powers) <= total)
            share = min(powers) / total
            self.least_share = share if self.least_share is None else min(self.least_share, share)


def judge(world: World, history: History, known: dict[tuple[Cert, ...], int]) -> list[int]:
    """Return the power that each disagreement of a run convicts; `known` remembers earlier answers."""
    pairs = disagreements(commits_of(world, history))
    if not pairs:
        return []
    polkas = used_polkas(history)
    powers = []
    for pair in pairs:
        certs = (*pair, *polkas)
        if certs not in known:
            known[certs] = convicted_power(world, certs)
        powers.append(known[certs])
    return powers


def symmetric(world: World, history: History) -> History:
    """Return one history for all those that differ in the names of values and of voters of equal stake."""
    voters = range(len(world.correct))
    orders = [
        order
        for order in permutations(voters)
        if all(world.correct[order[voter]] == world.correct[voter] for voter in voters)
    ]
    return min(
        tuple(
            (_renamed(prevotes, order, swap), _renamed(precommits, order, swap))
            for prevotes, precommits in history
        )
        for order in orders
        for swap in (False, True)
    )


def _renamed(moves: Moves, order: tuple[int, ...], swap: bool) -> Moves:
    return tuple(
        (1 - moves[voter][0], *moves[voter][1:]) if swap and moves[voter] else moves[voter] for voter in order
    )


def walk(world: World, rounds: int) -> Counts:
    """Play every run of `rounds` rounds; those alike are played once and counted as often as they occur."""
    counts = Counts()
    known: dict[tuple[Cert, ...], int] = {}
    level: Counter[tuple[History, bool]] = Counter({((), False): 1})
    for left in range(rounds, 0, -1):
        after: Counter[tuple[History, bool]] = Counter()
        for (history, was_framed), times in level.items():
            for round_, is_framed in rounds_after(world, history):
                longer, framed = (*history, round_), was_framed or is_framed
                if left > 1:
                    after[symmetric(world, longer), framed] += times
                else:
                    powers = judge(world, longer, known)
                    counts.add(times, is_framed=framed, powers=powers, total=world.total)
        level = after
    return counts


def random_world(dice: Random, is_strict: bool) -> World:
    """Return 4 to 7 voters of unequal stake, of whom a third or more lies and no quorum does."""
    while True:
        powers = [dice.randint(1, 5) for _ in range(dice.randint(4, 7))]
        liars = dice.randint(1, len(powers) - 1)
        world = World(tuple(powers[liars:]), tuple(powers[:liars]), is_strict)
        if 3 * sum(world.liars) >= world.total and not world.is_quorum(sum(world.liars)):
            return world


def random_round(world: World, history: History, dice: Random) -> tuple[Round, bool]:
    """Return one round of those that `rounds_after` yields; nil is seldom chosen where there is a choice."""
    earlier = [polka for number, (said, _) in enumerate(history) for polka in polkas_of(world, number, said)]
    voters = range(len(world.correct))
    prevotes: Moves = tuple(
        dice.choice(prevote_moves(world, history, earlier, voter)[-4:]) for voter in voters
    )
    now = precommit_moves(polkas_of(world, len(history), prevotes))
    precommits: Moves = tuple(dice.choice(now) for _ in voters)
    return (prevotes, precommits), any(is_amnesiac(history, voter, prevotes[voter]) for voter in voters)


def sample(runs: int, seed: int, is_strict: bool = True) -> Counts:
    """Play `runs` runs of two to four rounds, each in a world of its own."""
    dice, counts = Random(seed), Counts()
    for _ in range(runs):
        world = random_world(dice, is_strict)
        history: History = ()
        was_framed = False
        for _ in range(dice.randint(2, 4)):
            round_, is_framed = random_round(world, history, dice)
            history, was_framed = (*history, round_), was_framed or is_framed
        counts.add(1, is_framed=was_framed, powers=judge(world, history, {}), total=world.total)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--correct", default="1,1", help="stakes of the correct voters")
    parser.add_argument("--liars", default="1,1", help="stakes of the liars")
    parser.add_argument("--paper", action="store_true", help="with the paper's way around the lock")
    parser.add_argument("--sample", type=int, metavar="RUNS", help="random worlds of 4 to 7 instead")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    began = time.process_time()
    if asked.sample:
        counts = sample(asked.sample, asked.seed, not asked.paper)
    else:
        correct, liars = (tuple(map(int, part.split(","))) for part in (asked.correct, asked.liars))
        counts = walk(World(correct, liars, not asked.paper), asked.rounds)
    print(json.dumps(asdict(counts) | {"cpu_s": round(time.process_time() - began, 1)}))


if __name__ == "__main__":
    main()
