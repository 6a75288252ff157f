"""The compiled kernel gives the integers of its twin in numpy and refuses what it can't read."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pfed.aggregation import gram
from p2pfed.types.params import UPDATES_MAX

SOURCE = Path(gram.__file__).with_name("_gram.c")
INCLUDE = Path(sysconfig.get_path("include"))
COMPILER = shutil.which("cc") or shutil.which("gcc")
COLUMNS = 256  # Of a block.


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the kernel of this source, built with every warning an error."""
    if COMPILER is None or not (INCLUDE / "Python.h").exists():
        pytest.skip("no C compiler, or no Python.h, here: the optional kernel is not built")
    target = tmp_path_factory.mktemp("kernel") / "_gram.so"
    strict = ("-O3", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", f"-I{INCLUDE}")
    subprocess.run([COMPILER, *strict, str(SOURCE), "-o", str(target)], check=True, timeout=120)
    loader = ExtensionFileLoader("_gram", str(target))
    spec = spec_from_loader("_gram", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def fresh_answer() -> Iterator[None]:
    gram.has_compiled.cache_clear()
    yield
    gram.has_compiled.cache_clear()


def products(kernel: Any, rows: Any, fresh: int) -> Any:
    total = np.zeros((fresh, len(rows)), np.int64)
    kernel.add_gram(tuple(rows), fresh, total)
    return total


@given(
    st.integers(0, 2**32), st.integers(1, 21), st.sampled_from([1, 7, COLUMNS - 1, COLUMNS, 3 * COLUMNS + 5]),
    st.sampled_from([(-32768, 32767), (32765, 32767), (-32768, -32767), (-129, 128), (-1, 1)]),
)  # fmt: skip
@settings(max_examples=60, deadline=None, derandomize=True)
def test_it_gives_the_products_of_whole_integers(
    compiled: Any, seed: int, n: int, size: int, bounds: tuple[int, int]
) -> None:
    rows = np.random.default_rng(seed).integers(*bounds, (n, size), np.int16, endpoint=True)
    expected = rows.astype(np.int64) @ rows.astype(np.int64).T
    for fresh in {1, (n + 1) // 2, n}:
        assert np.array_equal(products(compiled, rows, fresh), np.triu(expected[:fresh]))


def test_it_adds_to_what_is_there(compiled: Any) -> None:
    row = np.array([3, -4], np.int16)
    total = np.full((1, 1), 1 << 52, np.int64)
    compiled.add_gram((row,), 1, total)
    assert total.tolist() == [[(1 << 52) + 25]]


@pytest.mark.parametrize("extreme", [-32768, -32767, 32767, 32640, -32641])
def test_no_sum_of_a_block_overflows(compiled: Any, extreme: int) -> None:
    """The halves of these are the largest there are: a block of them comes nearest to 2^31."""
    rows = np.full((5, 16 * COLUMNS), extreme, np.int16)
    assert set(products(compiled, rows, 1)[0].tolist()) == {16 * COLUMNS * extreme**2}


def test_it_takes_as_many_rows_as_there_may_be_updates(compiled: Any) -> None:
    rows = np.arange(3 * UPDATES_MAX, dtype=np.int16).reshape(-1, 3)
    assert np.array_equal(products(compiled, rows, 2), np.triu(rows[:2].astype(np.int64) @ rows.T))
    with pytest.raises(ValueError, match="1 to 512"):
        products(compiled, [*rows, rows[0]], 2)


ROW = np.ones(4, np.int16)


@pytest.mark.parametrize(
    ("rows", "fresh", "out", "error"),
    [
        ([ROW], 1, np.zeros(1, np.int64), TypeError),
        ((), 0, np.zeros(0, np.int64), ValueError),
        ((ROW,), 2, np.zeros(2, np.int64), ValueError),
        ((ROW,), -1, np.zeros(1, np.int64), ValueError),
        ((ROW, ROW[1:]), 1, np.zeros(2, np.int64), ValueError),
        ((ROW.astype(np.int32),), 1, np.zeros(1, np.int64), ValueError),
        ((ROW, "ab"), 1, np.zeros(2, np.int64), TypeError),
        ((ROW[::2],), 1, np.zeros(1, np.int64), ValueError),
        ((ROW,), 1, np.zeros(2, np.int64), ValueError),
        ((ROW,), 1, np.zeros(2, np.int32), ValueError),
        ((ROW,), 1, b"12345678", BufferError),
    ],
)
def test_it_refuses_what_it_can_not_read_or_write(
    compiled: Any, rows: Any, fresh: int, out: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        compiled.add_gram(rows, fresh, out)


def test_the_rules_use_it_where_it_is_right(compiled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def add_gram(rows: Any, fresh: int, out: Any) -> None:
        calls.append(fresh)
        compiled.add_gram(rows, fresh, out)

    monkeypatch.setattr(gram, "_compiled", SimpleNamespace(add_gram=add_gram))
    assert gram.has_compiled()
    calls.clear()
    table = np.random.default_rng(1).integers(-32767, 32768, (2 * 700, 6)).astype(np.int16).T
    rows = [row[::2] for row in table]  # Not one value after the other.
    expected = (np.array(rows, np.int64) @ np.array(rows, np.int64).T).tolist()
    assert gram.gram(rows) == expected
    assert gram.partial_gram(rows, 2).tolist() == expected[:2]
    assert calls == [6, 2]


@pytest.mark.parametrize("wrong", [0, 1])
def test_one_that_computes_something_else_is_not_used(
    compiled: Any, monkeypatch: pytest.MonkeyPatch, wrong: int
) -> None:
    def add_gram(rows: Any, fresh: int, out: Any) -> None:
        compiled.add_gram(rows, fresh, out)
        out[0, -1] += wrong

    monkeypatch.setattr(gram, "_compiled", SimpleNamespace(add_gram=add_gram))
    assert gram.has_compiled() is not bool(wrong)
    assert gram.gram([ROW, 2 * ROW]) == [[4, 8], [8, 16]]


def test_without_it_numpy_does_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gram, "_compiled", None)
    assert not gram.has_compiled()
    assert gram.gram([ROW, 2 * ROW]) == [[4, 8], [8, 16]]
