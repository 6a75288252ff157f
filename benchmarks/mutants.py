"""Take the guards out of the agreement code one at a time, and tell which test notices.

`python benchmarks/mutants.py [--quick] [--named] [--again] [--only TEXT] [--seconds S] [--results FILE]`

Each mutant is one change to one place of p2pfed/consensus: a condition that always or never holds, an operand
left out, a comparison off by one or turned round, an answer that is always yes or no, a state update or an
action left out. It is written into a copy of the package; a fixed set of tests runs against that until the
first one fails. What ran is in the results file: a second call goes on where the first stopped. `--quick` is
the unit tests and transcripts alone; without it the survivors meet the simulator too.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib.util
import json
import os
import resource
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import coincurve  # noqa: F401  Loaded once, for all forks.
import hypothesis
import hypothesis.stateful
import msgspec  # noqa: F401
import numpy as np  # noqa: F401
import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOM = Path("p2pfed/consensus")
LOG_WRITER = (
    "../node/height.py",
    ("HeightWork._take_in", "HeightWork._speak"),
)  # The log is written a floor above.
UNIT = "tests/unit/consensus"
MODEL = "tests/model/test_model.py::test_the_machine_votes_as_the_model_lets_it_and_no_other_way"
QUICK = [UNIT, "tests/scripts", MODEL]
LOG = [
    "tests/unit/node/test_height.py",
    "tests/unit/node/test_node.py",
    "tests/sim/test_crashes.py",
]
SLOW = [
    "tests/vectors",
    "tests/property/test_consensus_signer.py",
    "tests/property/test_no_framing.py",
    "tests/property/test_accountability.py",
    "tests/property/test_consensus_agreement.py",
    "tests/sim/test_cores.py",
    "tests/sim/test_cores_convict.py",
]
# A loop without end counts as seen. The quick tests take 4 s, all of them 30.
CPU_SECONDS_MAX, CPU_SECONDS_QUICK_MAX = 90, 15
MEMORY_BYTES_MAX = 4 << 30

# Those that the plan names: file, function, what stands there, what the mutant makes of it.
NAMED = {
    "quorum off by one": ("quorum.py", "has_quorum", "3 * power > 2 * total", "3 * power >= 2 * total"),
    "a voice off by one": ("quorum.py", "has_honest_voice", "3 * power > total", "3 * power >= total"),
    "no lock check (machine)": (
        "machine.py",
        "State.is_lock_free",
        "self.locked_round <= valid_round",
        "True",
    ),
    "no lock check (signer)": ("signer.py", "_decide_prevote", "ask.value_id is not None and", "False"),
    "lock never set (machine)": ("machine.py", "_lock", "locked_round=cert.round", "left out"),
    "lock never set (signer)": ("signer.py", "_decide_precommit", "lock_round=ask.round", "left out"),
    "no re-proposal of the valid value": (
        "engine.py",
        "Engine._proposal_of",
        "state.valid_value is None",
        "True",
    ),
    "accept a mismatched valid round": (
        "vote_keeper.py",
        "VoteKeeper.polka",
        "valid_round is not None",
        "False",
    ),
    "no round skip": ("machine.py", "_skip", "round_ <= state.round", "True"),
    "double-counted equivocators": ("vote_keeper.py", "VoteKeeper.add", "not earlier", "True"),
    "no polka certificates (taken)": ("engine.py", "Engine._take_polka", "_tell(", "left out"),
    "no polka certificates (told)": ("machine.py", "_lock", "PublishPolka(cert)", "left out"),
    "stale timeout guard": ("machine.py", "_time_out", "event.round != state.round", "False"),
    "no WAL (W1)": ("../node/height.py", "HeightWork._take_in", "self._outbox.append(", "left out"),
    "no WAL (W2)": ("../node/height.py", "HeightWork._speak", "self._outbox.append(SyncLog", "left out"),
    "no WAL (nothing is read back)": ("replay.py", "history_of", "not begun", "True"),
    "a record older than the log": ("replay.py", "_held_against", "said > signed", "False"),
}
SIGN: dict[type[ast.cmpop], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
    ast.Is: "is", ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in",
}  # fmt: skip
OTHER_WAY = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==",
             "is": "is not", "is not": "is", "in": "not in", "not in": "in"}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change: `before` and `after` are what a reader is shown, `text` is the whole file."""

    file: str
    function: str
    line: int
    before: str
    after: str
    text: str
    function_text: str

    @property
    def key(self) -> str:
        """An id that stays while the function does."""
        what = f"{self.file}\0{self.function}\0{self.function_text}"
        return hashlib.sha256(what.encode()).hexdigest()[:12]

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.function}: `{self.before}` -> `{self.after}`"


class Source:
    """A file whose nodes are replaced by their place in its bytes; all else stays as it is written."""

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self.data = path.read_bytes()
        self.tree = ast.parse(self.data)
        self._whole = (0, len(self.data))
        self._starts = [0]
        for line in self.data.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def text_of(self, node: ast.AST) -> str:
        start, end = self._span(node)
        return self.data[start:end].decode()

    def mutant(self, function: str, node: ast.AST, code: str, before: str = "", after: str = "") -> Mutant:
        """Return the file with `node` replaced by `code`."""
        start, end = self._span(node)
        data = self.data[:start] + code.encode() + self.data[end:]
        body = data[self._whole[0] : self._whole[1] + len(data) - len(self.data)]
        shown = " ".join((before or self.text_of(node)).split())
        line: int = node.lineno  # type: ignore[attr-defined]
        return Mutant(self.name, function, line, shown, after or code, data.decode(), body.decode())

    def begin(self, function: ast.FunctionDef) -> None:
        """Let the mutants that follow be those of `function`."""
        self._whole = self._span(function)

    def _span(self, node: ast.AST) -> tuple[int, int]:
        start = self._starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]
        return start, self._starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]


def mutants_of(source: Source) -> Iterator[Mutant]:
    """Yield every mutant of a file, in the order of its lines within each function."""
    for function, node in functions(source.tree):
        if function.endswith("__repr__"):
            continue
        source.begin(node)
        for inner in within(node):
            yield from changes(source, function, inner, returns_bool=_says(node.returns, "bool"))


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from functions(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef):
            yield prefix + node.name, node


def within(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """Yield the nodes of a body; an assertion guards against our own bugs only, and is no guard here."""
    pending: list[ast.AST] = list(reversed(function.body))
    while pending:
        node = pending.pop()
        if not isinstance(node, ast.Assert):
            yield node
            pending += reversed(list(ast.iter_child_nodes(node)))


def changes(source: Source, function: str, node: ast.AST, *, returns_bool: bool) -> Iterator[Mutant]:
    """Yield the mutants of one node."""
    for test in conditions(node):
        for code in ("True", "False"):
            yield source.mutant(function, test, code)
    match node:
        case ast.BoolOp(values=values):
            for place, operand in enumerate(values):
                rest = ast.BoolOp(node.op, values[:place] + values[place + 1 :])
                code = f"({ast.unparse(rest if len(values) > 2 else rest.values[0])})"
                yield source.mutant(function, node, code, after=f"without `{source.text_of(operand)}`")
        case ast.Compare(ops=ops):
            for place in range(len(ops)):
                turned = source.text_of(node.left)
                for number, (operator, right) in enumerate(zip(ops, node.comparators, strict=True)):
                    sign = SIGN[type(operator)]
                    turned += f" {OTHER_WAY[sign] if number == place else sign} {source.text_of(right)}"
                yield source.mutant(function, node, f"({turned})", after=" ".join(turned.split()))
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub()):
            yield source.mutant(function, node, source.text_of(left))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield source.mutant(function, node, f"({source.text_of(operand)})", after=source.text_of(operand))
        case ast.Return(value=ast.expr() as value) if returns_bool:
            for code in ("True", "False"):
                if not isinstance(value, ast.Constant) or str(value.value) != code:
                    yield source.mutant(function, value, code)
        case ast.Call(func=called, keywords=keywords) if ast.unparse(called).endswith("replace"):
            for keyword in keywords:
                rest = ast.Call(called, node.args, [other for other in keywords if other is not keyword])
                before = source.text_of(keyword)
                yield source.mutant(function, node, ast.unparse(rest), before, "left out")
        case ast.Return(value=ast.Tuple(elts=[_, ast.Tuple(elts=actions) as said])):
            for action in actions:
                rest = ast.Tuple([other for other in actions if other is not action], ast.Load())
                yield source.mutant(function, said, ast.unparse(rest), source.text_of(action), "left out")
        case ast.Expr(value=ast.Call(func=ast.Name(id="assert_never"))):
            return  # For the type checker.
        case ast.Expr(value=ast.Call()) | ast.AugAssign():
            yield source.mutant(function, node, "pass", after="left out")
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]) if not function.endswith("__init__"):
            yield source.mutant(function, node, "pass", after="left out")


def conditions(node: ast.AST) -> list[ast.expr]:
    """Return what decides: of an if, an inner if, a filter, or a case."""
    if isinstance(node, ast.If | ast.IfExp):
        return [node.test]
    if isinstance(node, ast.comprehension):
        return node.ifs
    if isinstance(node, ast.match_case) and node.guard is not None:
        return [node.guard]
    return []


def _says(annotation: ast.expr | None, name: str) -> bool:
    return isinstance(annotation, ast.Name) and annotation.id == name


def all_mutants() -> list[Mutant]:
    """Return every mutant of the room, those that come out the same once."""
    found: dict[str, Mutant] = {}
    for path in sorted((ROOT / ROOM).glob("*.py")):
        if path.name == "journal_text.py":
            continue  # Words for people: nothing is decided there.
        for mutant in mutants_of(Source(path, path.name)):
            found.setdefault(mutant.key, mutant)
    file, names = LOG_WRITER
    for mutant in mutants_of(Source(ROOT / ROOM / file, file)):
        if mutant.function in names:
            found.setdefault(mutant.key, mutant)
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

    def try_out(self, mutant: Mutant | None, stages: list[list[str]]) -> dict[str, Any]:
        """Return which test fails first (`killer`), or None where all pass; `cpu_s` is what it took."""
        path = self.folder / ROOM / (mutant.file if mutant else "quorum.py")
        original = path.read_text(encoding="utf-8")
        if mutant is not None:
            compile(mutant.text, mutant.file, "exec")  # One that is no Python would pass for killed.
            path.write_text(mutant.text, encoding="utf-8")
            cached = Path(importlib.util.cache_from_source(str(path)))
            cached.unlink(missing_ok=True)  # Two texts of one second and length look alike to it.
        self._answer.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            self._run(stages, is_original=mutant is None)
        _, status, used = os.wait4(child, 0)
        path.write_text(original, encoding="utf-8")
        cpu_s = round(used.ru_utime + used.ru_stime, 2)
        if not self._answer.exists():
            return {"killer": f"the tests don't end (status {status})", "cpu_s": cpu_s}
        return json.loads(self._answer.read_text(encoding="utf-8")) | {"cpu_s": cpu_s}

    def _run(self, stages: list[list[str]], *, is_original: bool) -> NoReturn:
        """In the fork: run stage after stage until a test fails, and write down which."""
        seconds_max = CPU_SECONDS_QUICK_MAX if stages[-1] is QUICK else CPU_SECONDS_MAX
        resource.setrlimit(resource.RLIMIT_CPU, (seconds_max, seconds_max))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
        sys.dont_write_bytecode = not is_original  # The first run leaves it for all others.
        sys.path.insert(0, str(self.folder))
        os.chdir(self.folder)
        log = os.open(self.folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        quick = (
            hypothesis.Phase.explicit,
            hypothesis.Phase.generate,
        )  # To make a failure smaller takes long.
        hypothesis.settings.register_profile("mutants", phases=quick, database=None, derandomize=True)
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


def stages_for(file: str, *, quick: bool) -> list[list[str]]:
    """Return what to run, the likely killers first."""
    if file == LOG_WRITER[0]:
        return [LOG]
    own = f"{UNIT}/test_{file}"
    stages = [[own]] if (ROOT / own).exists() else []
    return [*stages, QUICK] if quick else [*stages, QUICK, SLOW]


def campaign(asked: argparse.Namespace, mutants: list[Mutant], results: dict[str, Any]) -> None:
    """Try what isn't in `results`, at most for the CPU seconds asked for."""
    names = {mutant.key: name for name, mutant in named(mutants).items()}
    waiting = [m for m in mutants if needs_a_run(results.get(m.key), quick=asked.quick, again=asked.again)]
    waiting = [m for m in waiting if asked.only in str(m) and (m.key in names or not asked.named)]
    waiting.sort(key=lambda mutant: (mutant.key not in names, mutant.key))  # The rest in an order of chance.
    with tempfile.TemporaryDirectory() as folder:
        judge = Judge(Path(folder))
        first = judge.try_out(None, stages_for("quorum.py", quick=asked.quick))
        if first["killer"] is not None or not first["passed"]:
            raise SystemExit(f"the code as it is fails: {first}")
        spent = first["cpu_s"]
        for mutant in waiting:
            if asked.seconds and spent >= asked.seconds:
                break
            found = judge.try_out(mutant, stages_for(mutant.file, quick=asked.quick))
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


def named_table(mutants: list[Mutant], results: dict[str, Any]) -> str:
    """Return a page's rows: what the plan names, where it is, which test sees it."""
    lines = ["| named in the plan | mutant | killed by |", "|---|---|---|"]
    for name, mutant in named(mutants).items():
        result = results.get(mutant.key)
        killer = "not tried" if result is None else f"`{result['killer'] or 'nothing'}`"
        lines.append(f"| {name} | {mutant} | {killer.removeprefix('`tests/').join(('`', ''))} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="unit tests and transcripts only")
    parser.add_argument("--named", action="store_true", help="only those that the plan names")
    parser.add_argument("--again", action="store_true", help="try survivors again: there are new tests")
    parser.add_argument("--only", default="", help="only mutants whose line holds this")
    parser.add_argument("--seconds", type=float, default=0, help="stop after so much CPU")
    parser.add_argument("--results", type=Path, default=Path("mutants.json"))
    parser.add_argument("--list", action="store_true", help="show the mutants and try none")
    parser.add_argument("--table", action="store_true", help="show the table of the named ones and try none")
    asked = parser.parse_args()
    mutants = all_mutants()
    results = json.loads(asked.results.read_text(encoding="utf-8")) if asked.results.exists() else {}
    if asked.list:
        print(*mutants, sep="\n")
    elif asked.table:
        print(named_table(mutants, results))
    else:
        campaign(asked, mutants, results)
        print(json.dumps(summary(mutants, results), indent=1))


if __name__ == "__main__":
    main()
