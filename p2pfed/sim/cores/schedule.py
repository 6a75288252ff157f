"""What a run of cores is: who lies and how, and which faults strike when. One seed, one value."""

from __future__ import annotations

from random import Random
from typing import get_args

from msgspec import Struct
from msgspec.structs import replace

from p2pfed.errors import UsageError
from p2pfed.sim.cores.kinds import FaultKind, LiarKind

HEIGHTS = 3
HEAL_MS = (1_500, 6_000)  # Faults end by then; three heights take about half a second where nothing is wrong.
FAULTS_MAX = 4
FROM_MS_MAX = 500
CRASH_EFFECTS = 45  # A crash strikes before one of so many first effects: about three heights of them.
SPLIT_SHARE = 0.85  # Of the runs with a third of liars or more: a plot, and the honest cut from each other.

# A lock that others don't know needs prevotes and polkas lost; one without a decision, precommits.
FILTERED: tuple[tuple[str, ...], ...] = (
    ("proposal",), ("prevote",), ("prevote", "polka"), ("precommit",), ("precommit", "commit"),
    ("precommit",), ("polka",), ("commit",),
)  # fmt: skip
# What a lock could be learned from. Who is muted in these knows a polka that nobody else does.
MUTED: tuple[str, ...] = ("proposal", "prevote", "polka")
HIDE_SHARE = 0.12  # Of the runs with less than a third of liars: a plot for another value than that.
FAULTS: tuple[FaultKind, ...] = get_args(FaultKind)
PLOTS: tuple[LiarKind, ...] = ("splitter", "turncoat")
LIARS: tuple[LiarKind, ...] = get_args(LiarKind)


class Fault(Struct, frozen=True):
    """One fault. Fields that its kind doesn't use keep their defaults.

    from_ms, until_ms: While it lasts.
    peers: Whom it strikes: the group cut off, the link (from, to), the bridge first, the one that crashes.
    share: Of messages struck; for a clock, what its waits are multiplied by.
    amount: A delay or a period in ms; for a crash, the number of the effect that it strikes before.
    messages: The kinds of messages that a filter drops.
    """

    kind: FaultKind
    from_ms: int
    until_ms: int
    peers: tuple[int, ...] = ()
    share: float = 1.0
    amount: int = 0
    messages: tuple[str, ...] = ()


class Schedule(Struct, frozen=True):
    """One run: `liars` holds (index, kind) of the Byzantine validators, the rest is honest."""

    seed: int
    peers: int
    liars: tuple[tuple[int, LiarKind], ...]
    faults: tuple[Fault, ...]
    heal_ms: int
    heights: int = HEIGHTS

    @property
    def is_safe(self) -> bool:
        """Answer whether the liars hold less than a third."""
        return 3 * len(self.liars) < self.peers


def draw(seed: int, peers: int, byzantine: int, kinds: tuple[FaultKind, ...] = FAULTS) -> Schedule:
    """Return the schedule of `seed`: always at least one fault, at most FAULTS_MAX.

    Raises:
        UsageError: Two thirds of liars or more: then nothing is promised, not even who is to blame.
    """
    verify_shape(peers, byzantine)
    dice = Random(seed)
    heal_ms = dice.randint(*HEAL_MS)
    numbers = sorted(dice.sample(range(peers), byzantine))
    is_plot = 3 * byzantine >= peers and dice.random() < SPLIT_SHARE
    plot: LiarKind = dice.choice(PLOTS)
    liars: list[tuple[int, LiarKind]] = [
        (number, plot if is_plot else dice.choice(LIARS)) for number in numbers
    ]
    honest = [number for number in range(peers) if number not in numbers]
    count = dice.choice((1, 1, 2, 2, 3, FAULTS_MAX))
    faults = [_fault(dice, dice.choice(kinds), peers, honest, heal_ms) for _ in range(count)]
    if is_plot and "bridge" in kinds:  # The liars are the only way between two groups of honest peers.
        group = dice.sample(honest, max(1, len(honest) // 2))
        faults[0] = Fault("bridge", 0, heal_ms, (*group, -1, *numbers))
    if 0 < 3 * byzantine < peers and "mute" in kinds and dice.random() < HIDE_SHARE:
        liars = [(number, "hider") for number in numbers]
        faults = [_muted(dice, honest, byzantine, heal_ms), *faults[1:2]]  # More would disturb it.
    return Schedule(seed, peers, tuple(liars), tuple(faults), heal_ms)


def verify_shape(peers: int, byzantine: int) -> None:
    """Raise UsageError where there are no promises to check."""
    if 3 * byzantine >= 2 * peers:
        raise UsageError(f"{byzantine} liars of {peers} peers; below two thirds every fork has a culprit")


def keep(schedule: Schedule, numbers: tuple[int, ...]) -> Schedule:
    """Return the schedule with only these of its faults."""
    if any(number >= len(schedule.faults) for number in numbers):
        raise UsageError(f"schedule {schedule.seed} has faults 0 to {len(schedule.faults) - 1}")
    return replace(schedule, faults=tuple(schedule.faults[number] for number in numbers))


def _fault(dice: Random, kind: FaultKind, peers: int, honest: list[int], heal_ms: int) -> Fault:
    from_ms = int(dice.random() ** 2 * FROM_MS_MAX)
    until_ms = from_ms + int((0.15 + 0.85 * dice.random()) * (heal_ms - from_ms))
    everyone = range(peers)
    match kind:
        case "loss":
            return Fault(kind, from_ms, until_ms, share=dice.choice((0.05, 0.2, 0.4)))
        case "delay":
            return Fault(
                kind, from_ms, until_ms, share=dice.choice((0.3, 1.0)), amount=dice.choice((30, 200))
            )
        case "duplicate":
            return Fault(kind, from_ms, until_ms, share=dice.choice((0.1, 0.5)), amount=300)
        case "reorder":
            return Fault(
                kind, from_ms, until_ms, share=dice.choice((0.1, 0.4)), amount=dice.choice((60, 900))
            )
        case "one_way":
            return Fault(kind, 0, until_ms, tuple(dice.sample(everyone, 2)))
        case "partition" | "flapping":
            group = tuple(dice.sample(everyone, dice.randint(1, peers // 2)))
            return Fault(kind, from_ms, until_ms, group, amount=dice.choice((40, 300)))
        case "ring":
            return Fault(kind, from_ms, until_ms, tuple(dice.sample(everyone, peers)))
        case "bridge":  # Left, -1, the bridge; the rest is right.
            mixed = dice.sample(everyone, peers)
            return Fault(kind, from_ms, until_ms, (*mixed[1 : 1 + (peers - 1) // 2], -1, mixed[0]))
        case "filter":
            group = tuple(dice.sample(everyone, dice.randint(1, peers)))
            messages = dice.choice(FILTERED)
            return Fault(kind, 0, until_ms, group, share=dice.choice((0.5, 1.0, 1.0)), messages=messages)
        case "crash":
            effect = dice.randrange(CRASH_EFFECTS)
            return Fault(kind, 0, heal_ms, (dice.choice(honest),), amount=effect, share=dice.random())
        case "pause":
            return Fault(kind, from_ms, until_ms, (dice.choice(honest),))
        case "clock":
            peer = dice.choice(honest)
            return Fault(kind, 0, until_ms, (peer,), share=dice.choice((0.01, 0.1, 0.1, 3.0)))
        case "slow_check":
            return Fault(kind, 0, until_ms, (dice.choice(honest),), amount=dice.choice((700, 2_500)))
        case "mute":
            return _muted(dice, honest, max(1, (peers - 1) // 3), heal_ms)


def _muted(dice: Random, honest: list[int], most: int, heal_ms: int) -> Fault:
    """Return a fault of up to `most` honest peers: the others and the liars are a quorum without them."""
    group = tuple(dice.sample(honest, min(len(honest), dice.randint(1, most))))
    return Fault("mute", 0, heal_ms, group, messages=MUTED)
