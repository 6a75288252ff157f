"""Scenarios by name or file, many seeds in a row, what broke, and the fewest faults that still break it."""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from hashlib import sha256
from importlib import resources
from pathlib import Path

import msgspec
from msgspec import Struct, field

from p2pfed.errors import UsageError
from p2pfed.sim.faults import Fault
from p2pfed.sim.scenario import Scenario, keep, load_scenario
from p2pfed.sim.world import Result, World, run

RANDOM = "random"
FAILURES_KEPT_MAX = 20
GARBAGE_MAX = 200_000  # Objects made since the last look.


def builtin_names() -> tuple[str, ...]:
    """Return the names of the scenarios that come with the program, ascending."""
    files = (resources.files("p2pfed.sim") / "scenarios").iterdir()
    return tuple(sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml")))


def find_scenario(name: str) -> Scenario:
    """Return a scenario from a file `….toml`, or of a built-in name; raises UsageError."""
    if name.endswith(".toml"):
        try:
            data = Path(name).read_bytes()
        except OSError as error:
            raise UsageError(f"{name} can't be read: {error.strerror}") from None
        return load_scenario(data, name)
    names = builtin_names()
    if name not in names:
        nearest = get_close_matches(name, (*names, RANDOM), n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]}?" if nearest else "`p2pfed lab list` shows them"
        raise UsageError(f"there is no scenario {name!r}; {hint}")
    return load_scenario((resources.files("p2pfed.sim") / "scenarios" / f"{name}.toml").read_bytes(), name)


class Tally(Struct):
    """Sums over runs. failures: (seed, violations) of the first few that broke a law."""

    schedules: int = 0
    violations: int = 0
    forks: int = 0
    accused_power_min: int | None = None
    included: int = 0
    older: int = 0
    crashes: int = 0
    blocks: int = 0
    events: int = 0
    messages: int = 0
    message_bytes: int = 0
    duplicates: int = 0
    virtual_ms: int = 0
    commit_ms: int = -1  # The largest of the runs' medians.
    cpu_s: float = 0.0
    node_cpu_s: float = 0.0  # Of the nodes alone (sim.meter).
    accuracy_min: float = 1.0
    fired: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)
    trace: bytes = b""

    def add(self, scenario: Scenario, result: Result) -> None:
        self.schedules += 1
        self.violations += bool(result.violations)
        self.forks += result.forks > 0
        if result.accused_power is not None:
            least = self.accused_power_min
            self.accused_power_min = (
                result.accused_power if least is None else min(least, result.accused_power)
            )
        self.included += result.included
        self.older += result.older
        self.crashes += result.crashes
        self.blocks += len(result.decided)
        self.events += result.events
        self.messages += result.messages
        self.message_bytes += result.message_bytes
        self.duplicates += result.duplicates
        self.virtual_ms += result.virtual_ms
        self.commit_ms = max(self.commit_ms, result.commit_ms)
        self.accuracy_min = min(self.accuracy_min, result.accuracy)
        struck = {fault.kind for fault, count in zip(scenario.faults, result.fired, strict=True) if count}
        self.fired.update(sorted(struck))
        if result.violations and len(self.failures) < FAILURES_KEPT_MAX:
            self.failures.append((scenario.seed, result.violations))
        self.trace = sha256(self.trace + bytes.fromhex(result.trace_hash)).digest()


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Look for garbage in cycles rarely: a large run keeps most of what it makes, and makes few cycles."""
    before = gc.get_threshold()
    gc.set_threshold(GARBAGE_MAX, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def run_seeds(
    scenario_of: Callable[[int], Scenario],
    seed: int,
    schedules: int,
    repeat: Callable[[int], str],
    tell: Callable[[Tally], None],
) -> Tally:
    """Run seeds `seed`, `seed + 1`, …; an exception of ours carries the line that repeats it."""
    sums, started_s = Tally(), time.process_time()
    for number in range(seed, seed + schedules):
        scenario = scenario_of(number)
        try:
            with _rare_collections():
                world = World(scenario)
                result = world.run()
        except BaseException as error:
            error.add_note(f"seed {number}; repeat with: {repeat(number)}")
            raise
        sums.add(scenario, result)
        sums.node_cpu_s += world.meter.cpu_s
        sums.cpu_s = time.process_time() - started_s
        tell(sums)
    return sums


def shrink(scenario: Scenario) -> tuple[int, ...]:
    """Return the numbers of the parts that a bad run needs to be bad: none of them can be left out."""
    needed = tuple(range(len(scenario.parts)))
    for number in reversed(needed):
        fewer = tuple(other for other in needed if other != number)
        if run(keep(scenario, fewer)).violations:
            needed = fewer
    return needed


def with_seed(scenario: Scenario, seed: int) -> Scenario:
    return msgspec.structs.replace(scenario, seed=seed)


def fault_kinds(scenario: Scenario) -> tuple[str, ...]:
    """Return what goes wrong in a scenario, each kind once."""
    kinds = [part.kind if isinstance(part, Fault) else "crash" for part in scenario.parts]
    return tuple(dict.fromkeys(kinds))
