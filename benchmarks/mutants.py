"""Take the guards out of the core one at a time, and tell which test notices.

`python benchmarks/mutants.py [--room R] [--quick] [--named] [--again] [--only TEXT] [--results F]`

How mutants are made is in `mutations`, how they meet tests in `mutant_judge`. A fixed set of tests is loaded
once; for each mutant a fork puts the changed code into the function and runs the tests that call it until the
first one fails. What ran is in the results file: a second call goes on where the first stopped. `--quick` is
the tests beside the room alone; without it the survivors meet laws, vectors and the simulator too.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from textwrap import shorten
from typing import Any

import hypothesis
import pytest
from mutant_judge import Judge
from mutations import Mutant, Source, mutants_of

ROOT = Path(__file__).resolve().parent.parent
LOG_WRITER = "node/height.py"  # It writes the log of the agreement, a floor above.
LOG_WRITERS = ("HeightWork._take_in", "HeightWork._speak")
LOG_TESTS = ("tests/unit/node/test_height.py", "tests/unit/node/test_node.py", "tests/sim/test_crashes.py")
# Words and rows, where nothing is decided; and what tests and deep checks compare the rules with.
LEFT_OUT = ("consensus/journal_text.py", "ledger/summary.py", "aggregation/reference")


# They take three quarters of the time of all tests beside the rules: extremes of size, and drawn cases.
SLOW_AGGREGATION_TESTS = tuple(
    f"tests/unit/aggregation/test_{test}"
    for test in (
        "growing.py::test_any_way_of_coming_and_going_gives_the_products_of_one_pass",
        "step.py::test_the_outer_step_is_its_formula_in_fractions",
        "engine.py::test_another_process_with_another_hash_seed_and_threads_gives_the_same_bits",
        "contribution.py::test_scores_follow_their_updates_and_know_no_unit",
        "codecs.py::test_bytes_of_a_stranger_are_refused_or_read_within_bounds_and_two_programs_judge_alike",
        "codecs.py::test_what_is_encoded_is_valid_comes_back_alike_and_two_programs_read_it_alike",
        "choosing_rules.py::test_512_extreme_rows_give_the_bits_of_the_reference",
        "choosing_rules.py::test_crafted_rows_cannot_keep_mda_busy_for_long",
        "mean.py::test_weights_sum_to_the_whole_and_are_within_one_unit_of_their_share",
        "fixed.py::test_512_rows_of_the_largest_products_do_not_wrap",
        "gram.py::test_products_at_the_bounds_are_exact_however_they_are_cut",
    )
)


@dataclass(frozen=True)
class Room:
    """A room of p2pfed and the tests that its mutants meet; `--quick` leaves out what `slow` names."""

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
        (
            "tests/property/test_kernels.py",
            "tests/property/test_federated_averaging.py",
            "tests/vectors",
            *SLOW_AGGREGATION_TESTS,
        ),
    ),
    "node": Room("node/*.py", ("tests/unit/node",), ("tests/sim", "tests/unit/adversary")),
    "gossip": Room(
        "gossip/*.py", ("tests/unit/gossip",), ("tests/property/test_gossip_discovery.py", "tests/unit/node")
    ),
}

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
        if not name.startswith(LEFT_OUT):
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


def tests_for(file: str, room: Room, items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Return what a mutant of a file meets of what was collected."""
    wanted = LOG_TESTS if file == LOG_WRITER else (*room.quick, *room.slow)
    return [item for item in items if item.nodeid.startswith(wanted)]


def own_tests(file: str) -> str:
    """Return how the ids of the tests in the file of the same name begin."""
    return Path("tests/unit", file).with_name(f"test_{Path(file).name}").as_posix()


class Campaign:
    """A pytest plugin: instead of running what was collected it tries the mutants on it."""

    def __init__(self, asked: argparse.Namespace, mutants: list[Mutant], results: dict[str, Any]) -> None:
        self._asked, self._mutants, self._results = asked, mutants, results

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Try what isn't in `results`, at most for the CPU seconds asked for."""
        asked, room, results = self._asked, ROOMS[self._asked.room], self._results
        if session.testsfailed:
            raise SystemExit("the tests can't be loaded")
        waiting, judge = self._waiting(), Judge(session)
        tests = {file: tests_for(file, room, session.items) for file in {mutant.file for mutant in waiting}}
        gc.freeze()  # The forks share what is loaded.
        spent = judge.watch([item for item in session.items if any(item in some for some in tests.values())])
        print(f"{spent:6.2f} s  to see what each test calls", flush=True)
        for mutant in waiting:
            if asked.seconds and spent >= asked.seconds:
                break
            found = judge.try_out(mutant, tests[mutant.file], own_tests(mutant.file))
            spent += found["cpu_s"]
            results[mutant.key] = {"mutant": str(mutant), "quick": asked.quick} | found
            asked.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
            print(f"{found['cpu_s']:6.2f} s  {mutant}  {found['killer'] or 'SURVIVES'}", flush=True)
        return True

    def _waiting(self) -> list[Mutant]:
        """Return what to try: those that the plan names, then the others in an order of chance."""
        asked = self._asked
        names = [m.key for m in named(self._mutants).values()] if asked.room == "consensus" else []
        waiting = [
            mutant
            for mutant in self._mutants
            if needs_a_run(self._results.get(mutant.key), quick=asked.quick, again=asked.again)
            and asked.only in str(mutant)
            and (mutant.key in names or not asked.named)
        ]
        return sorted(waiting, key=lambda mutant: (mutant.key not in names, mutant.key))


def campaign(asked: argparse.Namespace, mutants: list[Mutant], results: dict[str, Any]) -> None:
    """Load and collect the tests of a room, and try its mutants on them."""
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)  # Making a failure smaller takes long.
    hypothesis.settings.register_profile(
        "mutants", phases=phases, database=None, derandomize=True, deadline=None
    )
    hypothesis.settings.load_profile("mutants")
    room = ROOMS[asked.room]
    paths = [
        *room.quick,
        *([] if asked.quick else room.slow),
        *(LOG_TESTS if asked.room == "consensus" else []),
    ]
    left_out = [f"--deselect={path}" for path in room.slow if asked.quick and "::" in path]
    os.chdir(ROOT)
    pytest.main(
        ["-s", "-q", "--tb=short", "-p", "no:cacheprovider", *left_out, *paths],
        plugins=[Campaign(asked, mutants, results)],
    )


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
    return (result["killer"] or "nothing").removeprefix("tests/").split("[")[0]


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
        for mutant in group:
            before = shorten(mutant.before, 80, placeholder=" ...")
            lines.append(f"{mutant.line:5} {before} -> {mutant.after} | {killer_of(results.get(mutant.key))}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--room", choices=ROOMS, default="consensus", help="whose guards are taken out")
    parser.add_argument("--quick", action="store_true", help="the tests beside the room only")
    parser.add_argument("--named", action="store_true", help="only those that the plan names")
    parser.add_argument("--again", action="store_true", help="try survivors again: there are new tests")
    parser.add_argument("--only", default="", help="only mutants whose line holds this")
    parser.add_argument("--seconds", type=float, default=0, help="stop after so much CPU")
    parser.add_argument("--results", type=lambda name: Path(name).resolve(), default=Path("mutants.json"))
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
