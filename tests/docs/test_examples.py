"""The examples are as short as a user is promised, and the guide shows them as they are."""

from __future__ import annotations

import ast
import re
import sys
import tomllib

import pytest
from support.pages import ROOT, guide

# Lines that a user writes, without imports, blank lines and docstrings.
LINES_MAX = {"torch_digits.py": 12, "sklearn_digits.py": 8, "jax_digits.py": 15}
FRAMEWORKS = {"torch", "sklearn", "jax", "flax", "optax", "flwr", "numpy", "p2pfed"}


def lines_written(source: str) -> int:
    """Return how many lines of a program are neither blank, comment, import nor docstring."""
    tree, left_out = ast.parse(source), set[int]()
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_text or isinstance(node, ast.Import | ast.ImportFrom):
            left_out.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(source.splitlines(), 1)
    return sum(
        1 for number, line in lines if number not in left_out and line.strip() and line.strip()[0] != "#"
    )


def modules_of(source: str) -> set[str]:
    """Return the packages that a program imports."""
    names = {
        (node.module if isinstance(node, ast.ImportFrom) else alias.name) or ""
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    return {name.partition(".")[0] for name in names}


def test_the_counter_counts_what_is_written() -> None:
    assert lines_written('"""Doc."""\nimport os\n\n# why\nx = (\n    1\n)\n') == 3


@pytest.mark.parametrize("name", LINES_MAX)
def test_an_example_is_as_short_as_promised(name: str) -> None:
    assert 1 <= lines_written((ROOT / "examples" / name).read_text()) <= LINES_MAX[name]


@pytest.mark.parametrize("name", LINES_MAX)
def test_an_example_needs_no_helper(name: str) -> None:
    imported = modules_of((ROOT / "examples" / name).read_text())
    assert imported <= FRAMEWORKS | set(sys.stdlib_module_names)


def test_no_line_of_a_flower_app_is_written_for_p2pfed() -> None:
    """What p2pfed trains is what `flwr run` runs: the app imports Flower and its own files alone."""
    folder = ROOT / "examples" / "flower_digits"
    files = sorted(folder.rglob("*.py"))
    assert {path.name for path in files} >= {"client_app.py", "numpy_client_app.py", "server_app.py"}
    imported = set().union(*(modules_of(path.read_text()) for path in files))
    assert imported <= {"flwr", "numpy", "sklearn", "digits_app"} | set(sys.stdlib_module_names)
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    assert not any("p2pfed" in need for need in project["project"]["dependencies"])
    assert set(project["tool"]["flwr"]["app"]["components"]) == {"serverapp", "clientapp"}


@pytest.mark.parametrize("name", LINES_MAX)
def test_the_guide_shows_an_example_as_it_is(name: str) -> None:
    source = (ROOT / "examples" / name).read_text()
    code = source[source.index('"""\n\n') + 5 :]  # What stands below the docstring.
    assert code in re.findall(r"```python\n(.*?)```", guide("your-model.md").read_text(), re.DOTALL)
