"""The rules of the house hold in every file, and each rule catches what it is there for."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _load_rules() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tidy_rules", Path(__file__).with_name("rules.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


rules = _load_rules()


def test_the_rules_hold_in_every_file() -> None:
    files = sorted((ROOT / "p2pfed").rglob("*.py"))
    assert len(files) > 30
    findings = [
        finding
        for path in files
        for finding in rules.check(path.relative_to(ROOT).as_posix(), path.read_text())
    ]
    assert findings == []


def test_every_page_of_the_docs_is_linked_from_another() -> None:
    pages = sorted((ROOT / "docs").rglob("*.md"))
    texts = {path: path.read_text() for path in [*pages, *ROOT.glob("*.md")]}
    linked = {
        (path.parent / target).resolve()
        for path, text in texts.items()
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    }
    assert [str(page.relative_to(ROOT)) for page in pages if page.resolve() not in linked] == []


def test_every_decision_record_has_a_number_of_its_own() -> None:
    records = sorted((ROOT / "docs" / "adr").glob("*.md"))
    titles = [path.read_text().split(".", 1)[0] for path in records]
    assert titles == [f"# {int(path.name[:4])}" for path in records]
    assert len({*titles}) == len(titles)


def test_every_link_between_pages_leads_somewhere() -> None:
    pages = [*sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*.md"))]
    dead = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in pages
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text())
        if not (path.parent / target).exists()
    ]
    assert dead == []


CORE = "p2pfed/ledger/planted.py"
ABOVE = "p2pfed/runtime/planted.py"


def _finds(body: str, path: str = CORE) -> bool:
    return bool(rules.check(path, f'"""A planted module."""\n{body}\n'))


@pytest.mark.parametrize(
    "body",
    [
        "x = 0.5",
        "x = 1e3",
        "x = 2j",
        "x = a / b",
        "x /= b",
        "x = float(a)",
        "x = hash(a)",
        "for x in {1, 2}:\n    f(x)",
        "for x in set(a):\n    f(x)",
        "for x in frozenset(a):\n    f(x)",
        "for x in set(a) - set(b):\n    f(x)",
        "for x in a & set(b):\n    f(x)",
        "for x in set(a).union(b):\n    f(x)",
        "for i, x in enumerate({y for y in a}):\n    f(x)",
        "x = [f(y) for y in set(a)]",
        "x = {y: 1 for y in set(a)}",
        "x = tuple(set(a))",
        "x = list({1, 2})",
        "x = [*{1, 2}]",
        "x = next(iter(set(a)))",
        "def f(a):\n    b = set(a)\n    for x in b:\n        g(x)",
        "def f(a):\n    b: set[int] = {y for y in a}\n    return [g(x) for x in b]",
        "def f(a):\n    b = set(a)\n    return sorted(g(x) for x in a), tuple(b)",
    ],
)
def test_what_differs_between_peers_is_found_below_the_line(body: str) -> None:
    assert _finds(body)
    assert not _finds(body, ABOVE)


@pytest.mark.parametrize(
    "body",
    [
        "x = a // b",
        "x = sorted(set(a))",
        "for x in sorted({1, 2}):\n    f(x)",
        "x = sum(f(y) for y in set(a))",
        "x = all(y > 1 for y in {1, 2})",
        "x = max(set(a))",
        "x = {f(y) for y in set(a)}",
        "x = sorted([*set(a), *set(b)])",
        "x = 1 in {1, 2}",
        "x = '0.5 / 2 hash(x)'",
        "def f(a):\n    b = set(a)\n    b = sorted(b)\n    return [g(x) for x in b]",
        "try:\n    f()\nexcept BaseException:\n    g()\n    raise",
        "try:\n    f()\nexcept ValueError:\n    g()",
    ],
)
def test_what_is_harmless_is_left_alone(body: str) -> None:
    assert rules.check(CORE, f'"""A planted module."""\n{body}\n') == []


@pytest.mark.parametrize(
    "body",
    [
        "try:\n    f()\nexcept Exception:\n    pass",
        "try:\n    f()\nexcept:\n    pass",
        "try:\n    f()\nexcept (ValueError, BaseException) as error:\n    g(error)",
        "import pickle",
        "from pickle import loads",
        "import marshal",
        "x = eval(a)",
        "exec(a)",
        "import time\ntime.sleep(1)",
        "from time import sleep",
    ],
)
def test_what_is_banned_is_found_on_every_floor(body: str) -> None:
    assert _finds(body)
    assert _finds(body, ABOVE)


def test_the_exemptions_are_two_files_for_floats_and_the_doors_to_foreign_code() -> None:
    for path in ("p2pfed/privacy/mechanism.py", "p2pfed/aggregation/gram.py"):
        assert not _finds("x = 0.5 / 2", path)
        assert _finds("for x in {1, 2}:\n    f(x)", path)
        assert (ROOT / path).exists()
    for path in ("p2pfed/learning/worker.py", "p2pfed/net/libp2p/engine.py"):
        assert not _finds("try:\n    f()\nexcept Exception:\n    pass", path)
        assert _finds("import pickle", path)


def test_a_module_says_what_it_is_for() -> None:
    assert rules.check(CORE, "x = 1\n") == [f"{CORE}:1: no docstring"]
    assert rules.check(CORE, '"""   """\n') == [f"{CORE}:1: no docstring"]


def test_a_file_of_too_many_lines_is_found_but_for_the_one_that_strangers_copy() -> None:
    body = '"""A planted module."""\n' + "x = 1\n" * rules.FILE_LINES_MAX
    assert "lines; at most" in rules.check(ABOVE, body)[0]
    assert rules.check("p2pfed/independent/verify.py", body) == []
    assert rules.check(ABOVE, '"""A planted module."""\n' + "x = 1\n" * (rules.FILE_LINES_MAX - 2)) == []


def test_every_room_below_the_line_is_held() -> None:
    for room in rules.BELOW_THE_LINE:
        assert rules.check(f"p2pfed/{room}/planted.py", '"""A planted module."""\nx = 0.5\n')
    assert rules.check("p2pfed/errors.py", '"""A planted module."""\nx = 0.5\n')
