"""Take the guards out of the core one at a time, and tell which test notices.

`python benchmarks/mutants.py [--room R] [--quick] [--named] [--again] [--only TEXT] [--results F]`

How mutants are made is in `mutations`. Each is written into a copy of the package; a fixed set of tests runs
against that until the first one fails. What ran is in the results file: a second call goes on where the first
stopped. `--quick` is the tests beside the room alone; without it the survivors meet laws, vectors and the
simulator too.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NoReturn

import coincurve  # noqa: F401  Loaded once, for all forks.
import hypothesis
import hypothesis.stateful
import msgspec  # noqa: F401
import numpy as np  # noqa: F401
import pytest
from mutations import Mutant, Source, mutants_of

ROOT = Path(__file__).resolve().parent.parent
LOG_WRITER = "node/height.py"  # It writes the log of the agreement, a floor above.
LOG_WRITERS = ("HeightWork._take_in", "HeightWork._speak")
LOG_TESTS = ("tests/unit/node/test_height.py", "tests/unit/node/test_node.py", "tests/sim/test_crashes.py")
FOR_PEOPLE = ("consensus/journal_text.py", "ledger/summary.py")  # Words and rows: nothing is decided there.


@dataclass(frozen=True)
class Room:
    """A room of p2pfed and the tests that its mutants meet, after those beside the mutated file."""

    files: str
    quick: tuple[str, ...]
    slow: tuple[str, ...]


ROOMS = {
    "consensus": Room(
        "consensus/*.py",
        (
            "tests/unit/consensus",
            "tests/scripts",
            "tests/model/test_model.py::test_the_machine_votes_as_the_model_lets_it_and_no_other_way",
        ),
        (
            "tests/vectors",
            "tests/property/test_consensus_signer.py",
            "tests/property/test_no_framing.py",
            "tests/property/test_accountability.py",
            "tests/property/test_consensus_agreement.py",
            "tests/sim/test_cores.py",
            "tests/sim/test_cores_convict.py",
        ),
    ),
    "ledger": Room(
        "ledger/**/*.py",
        ("tests/unit/ledger", "tests/unit/chain/test_stake.py"),
        ("tests/property/test_ledger.py", "tests/unit/chain", "tests/vectors", "tests/sim/test_stake.py"),
    ),
    "chain": Room(
        "chain/*.py",
        ("tests/unit/chain",),
        (
            "tests/property/test_update_set.py",
            "tests/property/test_light_client.py",
            "tests/vectors",
            "tests/sim/test_stake.py",
            "tests/sim/test_liars.py",
        ),
    ),
    "aggregation": Room(
        "aggregation/*.py",
        ("tests/unit/aggregation",),
        ("tests/property/test_kernels.py", "tests/property/test_federated_averaging.py", "tests/vectors"),
    ),
}
# A loop without end counts as seen. The quick tests of a room take 4 s, all of them 30.
CPU_SECONDS_MAX, CPU_SECONDS_QUICK_MAX = 90, 15
MEMORY_BYTES_MAX = 4 << 30

# Those that the plan names: file, function, what stands there, what the mutant makes of it.
NAMED = {
    "quorum off by one": (
        "consensus/quorum.py",
        "has_quorum",
        "3 * power > 2 * total",
        "3 * power >= 2 * total",
    ),
    "a voice off by one": (
        "consensus/quorum.py",
        "has_honest_voice",
        "3 * power > total",
        "3 * power >= total",
    ),
    "no lock check (machine)": (
        "consensus/machine.py",
        "State.is_lock_free",
        "self.locked_round <= valid_round",
        "True",
    ),
    "no lock check (signer)": (
        "consensus/signer.py",
        "_decide_prevote",
        "ask.value_id is not None and",
        "False",
    ),
    "lock never set (machine)": ("consensus/machine.py", "_lock", "locked_round=cert.round", "left out"),
    "lock never set (signer)": (
        "consensus/signer.py",
        "_decide_precommit",
        "lock_round=ask.round",
        "left out",
    ),
    "no re-proposal of the valid value": (
        "consensus/engine.py",
        "Engine._proposal_of",
        "state.valid_value is None",
        "True",
    ),
    "accept a mismatched valid round": (
        "consensus/vote_keeper.py",
        "VoteKeeper.polka",
        "valid_round is not None",
        "False",
    ),
    "no round skip": ("consensus/machine.py", "_skip", "round_ <= state.round", "True"),
    "double-counted equivocators": ("consensus/vote_keeper.py", "VoteKeeper.add", "not earlier", "True"),
    "no polka certificates (taken)": ("consensus/engine.py", "Engine._take_polka", "_tell(", "left out"),
    "no polka certificates (told)": ("consensus/machine.py", "_lock", "PublishPolka(cert)", "left out"),
    "stale timeout guard": ("consensus/machine.py", "_time_out", "event.round != state.round", "False"),
    "no WAL (W1)": (LOG_WRITER, "HeightWork._take_in", "self._outbox.append(", "left out"),
    "no WAL (W2)": (LOG_WRITER, "HeightWork._speak", "self._outbox.append(SyncLog", "left out"),
    "no WAL (nothing is read back)": ("consensus/replay.py", "history_of", "not begun", "True"),
    "a record older than the log": ("consensus/replay.py", "_held_against", "said > signed", "False"),
}


def mutants_in(room: str) -> list[Mutant]:
    """Return every mutant of a room, those that come out the same once."""
    package = ROOT / "p2pfed"
    found: dict[str, Mutant] = {}
    for path in sorted(package.glob(ROOMS[room].files)):
        name = path.relative_to(package).as_posix()
        if name not in FOR_PEOPLE:
            found |= {
                mutant.key: mutant for mutant in mutants_of(Source(path, name)) if mutant.key not in found
            }
    if room == "consensus":
        mutants = mutants_of(Source(package / LOG_WRITER, LOG_WRITER))
        found |= {mutant.key: mutant for mutant in mutants if mutant.function in LOG_WRITERS}
    return list(found.values())


def named(mutants: list[Mutant]) -> dict[str, Mutant]:
    """Return the mutants that the plan names; a KeyError where the code lost one keeps the list true."""
    found = {}
    for name, (file, function, before, after) in NAMED.items():
        fits = [
            mutant
            for mutant in mutants
            if (mutant.file, mutant.function) == (file, function)
            and mutant.before.startswith(before)
            and mutant.after == after
        ]
        if not fits:
            raise KeyError(name)
        found[name] = fits[0]
    return found


class Judge:
    """Runs the tests against a copy of the package, each time in a fork: what is loaded stays loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("p2pfed", "tests"):  # The tests too: whoever works on them meanwhile changes no answer.
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        self._answer = folder / "answer.json"

    def try_out(self, mutant: Mutant | None, stages: list[list[str]], cpu_seconds_max: int) -> dict[str, Any]:
        """Return which test fails first (`killer`), or None where all pass; `cpu_s` is what it took."""
        if mutant is None:
            return self._answer_of(stages, cpu_seconds_max, is_original=True)
        path = self.folder / "p2pfed" / mutant.file
        original = path.read_text(encoding="utf-8")
        compile(mutant.text, mutant.file, "exec")  # One that is no Python would pass for killed.
        path.write_text(mutant.text, encoding="utf-8")
        cached = Path(importlib.util.cache_from_source(str(path)))
        cached.unlink(missing_ok=True)  # Two texts of one second and length look alike to it.
        answer = self._answer_of(stages, cpu_seconds_max, is_original=False)
        path.write_text(original, encoding="utf-8")
        return answer

    def _answer_of(
        self, stages: list[list[str]], cpu_seconds_max: int, *, is_original: bool
    ) -> dict[str, Any]:
        self._answer.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds_max, cpu_seconds_max))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
            self._run(stages, is_original=is_original)
        _, status, used = os.wait4(child, 0)
        cpu_s = round(used.ru_utime + used.ru_stime, 2)
        if not self._answer.exists():
            return {"killer": f"the tests don't end (status {status})", "cpu_s": cpu_s}
        return json.loads(self._answer.read_text(encoding="utf-8")) | {"cpu_s": cpu_s}

    def _run(self, stages: list[list[str]], *, is_original: bool) -> NoReturn:
        """In the fork: run stage after stage until a test fails, and write down which."""
        sys.dont_write_bytecode = not is_original  # The first run leaves it for all others.
        sys.path.insert(0, str(self.folder))
        os.chdir(self.folder)
        log = os.open(self.folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        phases = (
            hypothesis.Phase.explicit,
            hypothesis.Phase.generate,
        )  # Making a failure smaller takes long.
        hypothesis.settings.register_profile("mutants", phases=phases, database=None, derandomize=True)
        hypothesis.settings.load_profile("mutants")
        watcher = Watcher()
        for stage in stages:
            pytest.main(["-x", "-q", "--tb=no", "-p", "no:cacheprovider", *stage], plugins=[watcher])
            if watcher.first is not None:
                break
        import p2pfed

        assert Path(p2pfed.__file__).is_relative_to(self.folder)
        self._answer.write_text(json.dumps({"killer": watcher.first, "passed": watcher.passed}))
        os._exit(0)


class Watcher:
    """A pytest plugin that remembers the first failure."""

    def __init__(self) -> None:
        self.first: str | None = None
        self.passed = 0

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and self.first is None:
            self.first = report.nodeid
        self.passed += report.when == "call" and report.passed

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed and self.first is None:
            self.first = report.nodeid


def stages_for(file: str, room: Room, *, quick: bool) -> list[list[str]]:
    """Return what to run, the likely killers first."""
    if file == LOG_WRITER:
        return [list(LOG_TESTS)]
    own = Path("tests/unit", file).with_name(f"test_{Path(file).name}")
    stages = [[str(own)]] if (ROOT / own).exists() else []
    return [*stages, list(room.quick)] if quick else [*stages, list(room.quick), list(room.slow)]


def campaign(asked: argparse.Namespace, mutants: list[Mutant], results: dict[str, Any]) -> None:
    """Try what isn't in `results`, at most for the CPU seconds asked for."""
    room = ROOMS[asked.room]
    names = [mutant.key for mutant in named(mutants).values()] if asked.room == "consensus" else []
    waiting = [m for m in mutants if needs_a_run(results.get(m.key), quick=asked.quick, again=asked.again)]
    waiting = [m for m in waiting if asked.only in str(m) and (m.key in names or not asked.named)]
    waiting.sort(key=lambda mutant: (mutant.key not in names, mutant.key))  # The rest in an order of chance.
    limit = CPU_SECONDS_QUICK_MAX if asked.quick else CPU_SECONDS_MAX
    with tempfile.TemporaryDirectory() as folder:
        judge = Judge(Path(folder))
        first = judge.try_out(None, stages_for("none", room, quick=asked.quick), limit)
        if first["killer"] is not None or not first["passed"]:
            raise SystemExit(f"the code as it is fails: {first}")
        spent = first["cpu_s"]
        for mutant in waiting:
            if asked.seconds and spent >= asked.seconds:
                break
            found = judge.try_out(mutant, stages_for(mutant.file, room, quick=asked.quick), limit)
            spent += found["cpu_s"]
            results[mutant.key] = {"mutant": str(mutant), "quick": asked.quick} | found
            asked.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
            print(f"{found['cpu_s']:6.2f} s  {mutant}  {found['killer'] or 'SURVIVES'}", flush=True)


def needs_a_run(result: dict[str, Any] | None, *, quick: bool, again: bool) -> bool:
    """Answer whether a mutant was not tried, or survived the quick tests alone, or is to be tried again."""
    return result is None or (result["killer"] is None and (again or (result["quick"] and not quick)))


def summary(mutants: list[Mutant], results: dict[str, Any]) -> dict[str, Any]:
    """Return the counts of a campaign, of the mutants that the code has now."""
    tried = [results[mutant.key] for mutant in mutants if mutant.key in results]
    by_file = Counter(mutant.file for mutant in mutants if mutant.key in results)
    return {
        "mutants": len(mutants),
        "tried": len(tried),
        "killed": sum(result["killer"] is not None for result in tried),
        "survivors": sorted(result["mutant"] for result in tried if result["killer"] is None),
        "tried_by_file": dict(sorted(by_file.items())),
        "cpu_s": round(sum(result["cpu_s"] for result in tried)),
    }


def killer_of(result: dict[str, Any] | None) -> str:
    """Return what a table says of a mutant: the test that saw it, `nothing`, or `not tried`."""
    if result is None:
        return "not tried"
    return (result["killer"] or "nothing").removeprefix("tests/")


def named_table(mutants: list[Mutant], results: dict[str, Any]) -> str:
    """Return a page's rows: what the plan names, where it is, which test sees it."""
    lines = ["| named in the plan | mutant | killed by |", "|---|---|---|"]
    for name, mutant in named(mutants).items():
        lines.append(f"| {name} | {mutant} | `{killer_of(results.get(mutant.key))}` |")
    return "\n".join(lines)


def table(mutants: list[Mutant], results: dict[str, Any]) -> str:
    """Return every mutant in a line, below its function: where, what became what, which test sees it."""
    lines = []
    for (file, function), group in groupby(mutants, key=lambda mutant: (mutant.file, mutant.function)):
        lines.append(f"{file} {function}")
        lines += [f"{m.line:5} {m.change} | {killer_of(results.get(m.key))}" for m in group]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--room", choices=ROOMS, default="consensus", help="whose guards are taken out")
    parser.add_argument("--quick", action="store_true", help="the tests beside the room only")
    parser.add_argument("--named", action="store_true", help="only those that the plan names")
    parser.add_argument("--again", action="store_true", help="try survivors again: there are new tests")
    parser.add_argument("--only", default="", help="only mutants whose line holds this")
    parser.add_argument("--seconds", type=float, default=0, help="stop after so much CPU")
    parser.add_argument("--results", type=Path, default=Path("mutants.json"))
    parser.add_argument("--list", action="store_true", help="show the mutants and try none")
    parser.add_argument("--table", action="store_true", help="show what killed each, and try none")
    asked = parser.parse_args()
    mutants = mutants_in(asked.room)
    results = json.loads(asked.results.read_text(encoding="utf-8")) if asked.results.exists() else {}
    if asked.list:
        print(*mutants, sep="\n")
    elif asked.table:
        print((named_table if asked.named else table)(mutants, results))
    else:
        campaign(asked, mutants, results)
        print(json.dumps(summary(mutants, results), indent=1))


if __name__ == "__main__":
    main()
