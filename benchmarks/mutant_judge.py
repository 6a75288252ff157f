"""Run tests against a mutant, each in a fork of a pytest session that has loaded and collected them all.

Which tests call which function is watched first: a test that does not call a function cannot miss its guards.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import resource
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NoReturn

import pytest
from mutations import Mutant

PACKAGE = str(Path(__file__).resolve().parent.parent / "p2pfed") + os.sep
MEMORY_BYTES_MAX = 4 << 30
# A loop without end counts as seen: three times what the tests take, and something on top.
CPU_SECONDS_MAX, CPU_SECONDS_MORE = 3, 10
Item = pytest.Item


class Judge:
    """Knows what each test calls, and which of them fails first where a function is another one."""

    def __init__(self, session: pytest.Session) -> None:
        self._session = session
        self._cpu_s: dict[str, float] = {}
        self._called: dict[str, set[str]] = {}  # By test: "file function".

    def watch(self, items: Sequence[Item]) -> float:
        """Run each test alone on the code as it is; return the CPU seconds. SystemExit where one fails."""
        forget_answers()
        for item in items:
            said, cpu_s = in_fork(lambda tell, item=item: self._watch(item, tell), 600)
            if said is None or said["killer"] is not None:
                raise SystemExit(f"the code as it is fails: {item.nodeid} {said}")
            self._cpu_s[item.nodeid], self._called[item.nodeid] = cpu_s, set(said["called"])
        return sum(self._cpu_s.values())

    def try_out(self, mutant: Mutant, items: Sequence[Item], own: str) -> dict[str, Any]:
        """Return which test fails first (`killer`), or None where all pass; `cpu_s` is what it took.

        The tests in the file `own` go first, and the fast before the slow.
        """
        name = f"{mutant.file} {mutant.function}"
        asked = [item for item in items if name in self._called[item.nodeid]]
        if not asked:
            return {"killer": None, "passed": 0, "cpu_s": 0.0}
        asked.sort(key=lambda item: (not item.nodeid.startswith(own), self._cpu_s[item.nodeid]))
        limit = CPU_SECONDS_MAX * sum(self._cpu_s[item.nodeid] for item in asked) + CPU_SECONDS_MORE
        said, cpu_s = in_fork(lambda tell: self._try(mutant, asked, tell), int(limit))
        if said is None:
            return {"killer": "the tests don't end", "cpu_s": cpu_s}
        return said | {"cpu_s": cpu_s}

    def _watch(self, item: Item, tell: Callable[[Any], None]) -> None:
        codes: set[CodeType] = set()

        def note(frame: FrameType, event: str, _: Any) -> None:
            if event == "call":
                codes.add(frame.f_code)

        threading.setprofile(note)
        sys.setprofile(note)
        found = self._run([item])
        sys.setprofile(None)
        called = (code for code in codes if code.co_filename.startswith(PACKAGE))
        tell(found | {"called": [name_of(code) for code in called]})

    def _try(self, mutant: Mutant, items: Sequence[Item], tell: Callable[[Any], None]) -> None:
        put_in(mutant)
        tell(self._run(items))

    def _run(self, items: Sequence[Item]) -> dict[str, Any]:
        """Run test after test until one fails."""
        watcher = Watcher()
        self._session.config.pluginmanager.register(watcher)
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
            if watcher.first is not None:
                break
        return {"killer": watcher.first, "passed": watcher.passed}


def in_fork(work: Callable[[Callable[[Any], None]], None], cpu_seconds_max: int) -> tuple[Any, float]:
    """Return what `work` tells, None where it did not come to that, and the CPU seconds of it."""
    answer, told = os.pipe()
    child = os.fork()
    if child == 0:
        _work(work, told, cpu_seconds_max)
    os.close(told)
    with os.fdopen(answer) as read:
        said = read.read()
    _, status, used = os.wait4(child, 0)
    if not said and not os.WIFSIGNALED(status):
        raise RuntimeError("the program is at fault: it ended before its tests did")
    return json.loads(said) if said else None, round(used.ru_utime + used.ru_stime, 2)


def _work(work: Callable[[Callable[[Any], None]], None], told: int, cpu_seconds_max: int) -> NoReturn:
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds_max, cpu_seconds_max))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        with os.fdopen(told, "w") as out:
            work(lambda said: print(json.dumps(said), file=out))
    finally:
        os._exit(0)


def forget_answers() -> None:
    """Empty the caches that loading the tests has filled: a function that is not called shows no mutant."""
    for name, module in list(sys.modules.items()):
        if name.startswith("p2pfed."):
            for found in list(vars(module).values()):
                if hasattr(found, "cache_clear"):
                    found.cache_clear()


def name_of(code: CodeType) -> str:
    """Return the file and function of a piece of code, the outermost one where functions hold functions."""
    return f"{code.co_filename.removeprefix(PACKAGE)} {code.co_qualname.split('.<locals>')[0]}"


def put_in(mutant: Mutant) -> None:
    """Give the loaded function the code of its mutant: whoever holds the function runs that from now on."""
    owner: Any = importlib.import_module("p2pfed." + mutant.file.removesuffix(".py").replace("/", "."))
    *path, name = mutant.function.split(".")
    for part in path:
        owner = getattr(owner, part)
    found = inspect.getattr_static(owner, name)
    if hasattr(found, "cache_clear"):
        found.cache_clear()
    for wrapper in ("fget", "func", "__func__", "__wrapped__"):  # property, cached_property, method, cache
        found = getattr(found, wrapper, found)
    found.__code__ = code_of(mutant)


def code_of(mutant: Mutant) -> CodeType:
    """Return the code of the mutated function, out of that of its whole file."""
    pending = [compile(mutant.text, mutant.file, "exec")]
    while pending:
        code = pending.pop()
        if code.co_qualname == mutant.function:
            return code
        pending += [inner for inner in code.co_consts if isinstance(inner, CodeType)]
    raise KeyError(mutant.function)


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
