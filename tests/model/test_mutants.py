"""The script that takes guards out of the agreement code still finds those that the plan names."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Dataclasses look their module up, and the second imports the first.
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def mutations() -> ModuleType:
    return _load("mutations")


@pytest.fixture(scope="module")
def mutants(mutations: ModuleType) -> ModuleType:
    _load("mutant_judge")
    return _load("mutants")


def test_every_guard_that_the_plan_names_has_its_mutant(mutants: ModuleType) -> None:
    found = mutants.named(mutants.mutants_in("consensus"))
    assert set(found) == set(mutants.NAMED)
    for mutant in found.values():
        compile(mutant.text, mutant.file, "exec")


def test_a_small_function_has_the_mutants_that_one_expects(mutations: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "small.py"
    path.write_text(
        "def may(a: int, b: int) -> bool:\n    if a < b and not b:\n        go()\n    return a == b\n"
    )
    made = {
        (mutant.before, mutant.after) for mutant in mutations.mutants_of(mutations.Source(path, path.name))
    }
    test = "a < b and not b"
    assert made == {
        (test, "True"),
        (test, "False"),
        (test, "without `a < b`"),
        (test, "without `not b`"),
        ("a < b", "a <= b"),
        ("not b", "b"),
        ("go()", "left out"),
        ("a == b", "True"),
        ("a == b", "False"),
        ("a == b", "a != b"),
    }
