"""Many schedules in a row: what broke, how often, how fast; and the smallest schedule that still breaks."""

from __future__ import annotations

import gc
import multiprocessing
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256

from msgspec import Struct, field

from p2pfed.sim.cores.kinds import FaultKind
from p2pfed.sim.cores.schedule import FAULTS, Schedule, draw, keep
from p2pfed.sim.cores.world import Outcome, run

CHUNK = 200  # Schedules of one task; fixed, so that the trace hash doesn't depend on the number of workers.
FAILURES_KEPT_MAX = 20


class Plan(Struct, frozen=True):
    """Schedules of seeds `seed`, `seed + 1`, …"""

    peers: int = 4
    byzantine: int = 1
    schedules: int = 1_000
    seed: int = 1
    kinds: tuple[FaultKind, ...] = FAULTS

    def schedule(self, seed: int) -> Schedule:
        return draw(seed, self.peers, self.byzantine, self.kinds)


class Tally(Struct):
    """Sums over schedules.

    accused_power_min: The least power convicted in a fork; None where there was none.
    unconvicted: Forks that convict less than a third; `amnesic`: forks in which E1 alone would.
    fired: Schedules in which a fault of each kind struck; `liars` counts schedules with each.
    failures: (seed, first violation) of the first few that broke a law.
    """

    schedules: int = 0
    faulted: int = 0
    violations: int = 0
    undecided: int = 0
    forks: int = 0
    unconvicted: int = 0
    amnesic: int = 0
    accused_power_min: int | None = None
    framed: int = 0
    reached_round_1: int = 0
    moved_a_lock: int = 0
    changed_a_lock: int = 0
    events: int = 0
    virtual_ms: int = 0
    cpu_s: float = 0.0
    fired: Counter[str] = field(default_factory=Counter)
    liars: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)
    trace: bytes = b""

    def add(self, schedule: Schedule, outcome: Outcome) -> None:
        self.schedules += 1
        self.faulted += any(outcome.fired)
        self.violations += bool(outcome.violations)
        self.undecided += outcome.undecided > 0
        self.forks += outcome.forks > 0
        if outcome.accused_power is not None:
            self.unconvicted += is_unconvicted(schedule, outcome)
            self._accuse(outcome.accused_power)
            self.amnesic += 3 * (outcome.accused_power_e1 or 0) < schedule.peers
        self.framed += len(outcome.framed)
        self.reached_round_1 += outcome.round_max >= 1
        self.moved_a_lock += outcome.locks_moved > 0
        self.changed_a_lock += outcome.locks_changed > 0
        self.events += outcome.events
        self.virtual_ms += outcome.virtual_ms
        struck = {fault.kind for fault, count in zip(schedule.faults, outcome.fired, strict=True) if count}
        self.fired.update(sorted(struck))
        self.liars.update(kind for _, kind in schedule.liars)
        if is_bad(schedule, outcome) and len(self.failures) < FAILURES_KEPT_MAX:
            why = outcome.violations[0] if outcome.violations else "a fork convicts less than a third"
            self.failures.append((schedule.seed, why))

    def merge(self, other: Tally) -> None:
        for name in (
            "schedules", "faulted", "violations", "undecided", "forks", "unconvicted", "amnesic", "framed",
            "reached_round_1", "moved_a_lock", "changed_a_lock", "events", "virtual_ms", "cpu_s",
        ):  # fmt: skip
            setattr(self, name, getattr(self, name) + getattr(other, name))
        if other.accused_power_min is not None:
            self._accuse(other.accused_power_min)
        self.fired.update(other.fired)
        self.liars.update(other.liars)
        self.failures = (self.failures + other.failures)[:FAILURES_KEPT_MAX]
        self.trace = sha256(self.trace + other.trace).digest()

    @property
    def is_good(self) -> bool:
        return not (self.violations or self.unconvicted or self.framed)

    def _accuse(self, power: int) -> None:
        before = self.accused_power_min
        self.accused_power_min = power if before is None else min(before, power)


def is_unconvicted(schedule: Schedule, outcome: Outcome) -> bool:
    """Answer whether there is a fork that convicts less than a third of the power (one each)."""
    return outcome.accused_power is not None and 3 * outcome.accused_power < schedule.peers


def is_bad(schedule: Schedule, outcome: Outcome) -> bool:
    """Answer whether a run broke a promise."""
    return bool(outcome.violations or outcome.framed) or is_unconvicted(schedule, outcome)


def run_chunk(plan: Plan, first: int, count: int) -> Tally:
    """Run `count` schedules from seed `first` on."""
    tally, hashes, started_s = Tally(), sha256(), time.process_time()
    gc.disable()  # A run leaves no cycles behind.
    try:
        for seed in range(first, first + count):
            schedule = plan.schedule(seed)
            try:
                outcome = run(schedule)
            except Exception as error:
                error.add_note(f"in the schedule of seed {seed}; {plan}")
                raise
            hashes.update(outcome.trace)
            tally.add(schedule, outcome)
    finally:
        gc.enable()
    tally.cpu_s = time.process_time() - started_s
    tally.trace = hashes.digest()
    return tally


def run_campaign(plan: Plan, workers: int = 1, tell: Callable[[Tally], None] = lambda _: None) -> Tally:
    """Run every schedule of the plan, or as many as there were time for before an interrupt.

    `tell` hears the sums so far. Chunks are added in the order of their seeds, whichever process ran them:
    equal plans give equal traces, and what an interrupt leaves is that of a smaller plan.
    """
    ends = plan.seed + plan.schedules
    chunks = [(first, min(CHUNK, ends - first)) for first in range(plan.seed, ends, CHUNK)]
    total = Tally()
    try:
        for tally in _tallies(plan, chunks, min(workers, len(chunks))):
            total.merge(tally)
            tell(total)
    except KeyboardInterrupt:
        pass
    return total


def shrink(schedule: Schedule) -> tuple[int, ...]:
    """Return the numbers of faults that a bad schedule needs to be bad: none of them can be left out."""
    needed = tuple(range(len(schedule.faults)))
    for number in reversed(needed):
        fewer = tuple(other for other in needed if other != number)
        smaller = keep(schedule, fewer)
        if is_bad(smaller, run(smaller)):
            needed = fewer
    return needed


def _tallies(plan: Plan, chunks: list[tuple[int, int]], workers: int) -> Iterator[Tally]:
    if workers == 1:
        yield from (run_chunk(plan, first, count) for first, count in chunks)
        return
    spawn = multiprocessing.get_context("spawn")
    # Only this process hears an interrupt; the others finish their chunk.
    pool = ProcessPoolExecutor(workers, spawn, signal.signal, (signal.SIGINT, signal.SIG_IGN))
    try:
        firsts, counts = zip(*chunks, strict=True)
        yield from pool.map(run_chunk, [plan] * len(chunks), firsts, counts)
    finally:
        pool.shutdown(cancel_futures=True)
