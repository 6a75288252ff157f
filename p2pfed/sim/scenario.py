"""What a simulated run is: who lies, what the network does, who dies when. One value, so a run repeats."""

from __future__ import annotations

from random import Random

from msgspec import Struct

# A peer carries out 20 to 30 effects a height when nothing goes wrong, so crashes fall all over a run.
EFFECTS_PER_HEIGHT = 30


class Crash(Struct, frozen=True):
    """`peer` dies right before its effect number `effect` (from 0, over all lives); back after `down_ms`."""

    peer: int
    effect: int
    down_ms: int


class Partition(Struct, frozen=True):
    """From `from_ms` to `until_ms` nothing passes between `group` and the rest. Their pipes stay open."""

    group: tuple[int, ...]
    from_ms: int
    until_ms: int


class Late(Struct, frozen=True):
    """`peer` has an empty disk and is not there before `from_ms`; it joins by state."""

    peer: int
    from_ms: int


class Scenario(Struct, frozen=True):
    """One run. Times are in virtual ms from its start; peers are numbered from 0, the liars are the last.

    peers: Members of genesis, with equal stake.
    heights: The network ends there.
    byzantine: A liar for each entry, as `adversary.registry` spells them.
    observers: Peers that genesis doesn't list, numbered after the members.
    loss, duplicate: The share of messages that never arrive, that arrive twice.
    delay_ms: The shortest and the longest way of a message; it is drawn anew for each, so they overtake.
    skew_ms: Each peer's clock is wrong by a constant of at most so much.
    heal_ms: From then on nothing is lost or doubled, and delays are the shortest.
    """

    peers: int = 4
    heights: int = 20
    byzantine: tuple[str, ...] = ()
    observers: int = 0
    loss: float = 0.0
    duplicate: float = 0.0
    delay_ms: tuple[int, int] = (1, 10)
    skew_ms: int = 0
    heal_ms: int = 0
    crashes: tuple[Crash, ...] = ()
    partitions: tuple[Partition, ...] = ()
    late: tuple[Late, ...] = ()
    seed: int = 1


def random_scenario(seed: int, peers: int, heights: int, byzantine: tuple[str, ...]) -> Scenario:
    """Return the schedule of `seed`: loss, delays, doubles, crashes and at most one partition."""
    dice = Random(seed)
    heal_ms = dice.randint(2_000, 20_000)
    crashes = tuple(
        Crash(
            dice.randrange(peers - len(byzantine)),
            dice.randrange(EFFECTS_PER_HEIGHT * heights),
            dice.randint(100, 5_000),
        )
        for _ in range(dice.randint(1, 6))
    )
    partitions: tuple[Partition, ...] = ()
    if dice.random() < 0.3:
        group = tuple(sorted(dice.sample(range(peers), dice.randint(1, peers // 2))))
        start_ms = dice.randint(0, heal_ms)
        partitions = (Partition(group, start_ms, start_ms + dice.randint(500, 5_000)),)
    return Scenario(
        peers=peers,
        heights=heights,
        byzantine=byzantine,
        loss=dice.choice((0.0, 0.02, 0.1, 0.3)),
        duplicate=dice.choice((0.0, 0.05, 0.3)),
        delay_ms=(1, dice.choice((5, 50, 300))),
        skew_ms=dice.choice((0, 0, 400)),
        heal_ms=heal_ms,
        crashes=crashes,
        partitions=partitions,
        seed=seed,
    )
