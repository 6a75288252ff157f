"""BLAS carries integers exactly within its bounds, and integers step in where it doesn't."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pfed.aggregation import gram
from p2pfed.types.params import GROUP_ELEMENTS_MAX


@pytest.fixture(autouse=True)
def numpy_alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(gram, "_compiled", None)
    for answer in (gram.self_test, gram.has_compiled):
        answer.cache_clear()
    yield
    for answer in (gram.self_test, gram.has_compiled):
        answer.cache_clear()


@given(
    st.integers(0, 2**32), st.integers(1, 20), st.integers(1, 70), st.booleans(),
    st.sampled_from([(-32767, 32767), (32765, 32767), (-32767, -32766), (-1, 1)]),
)  # fmt: skip
@settings(max_examples=80, deadline=None, derandomize=True)
def test_products_at_the_bounds_are_exact_however_they_are_cut(
    seed: int, n: int, size: int, is_panelled: bool, bounds: tuple[int, int]
) -> None:
    rows = np.random.default_rng(seed).integers(*bounds, (n, size), np.int16, endpoint=True)
    wide = rows.astype(np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gram, "STRIP_COLUMNS", 8)
        patch.setattr(gram, "BLOCK_COLUMNS_MAX", 16)
        patch.setattr(gram, "has_small_products", lambda: is_panelled)
        assert gram.gram(list(rows)) == (wide @ wide.T).tolist()


def test_the_largest_group_of_the_largest_values_is_exact() -> None:
    row = np.full(GROUP_ELEMENTS_MAX, 32767, np.int16)
    other = row.copy()
    other[-1] = 32766
    square = GROUP_ELEMENTS_MAX * 32767**2
    assert square < 2**52
    assert gram.gram([row, other]) == [
        [square, square - 32767],
        [square - 32767, square - 32767 - 32766],
    ]


STRIP, BLOCK = gram.STRIP_COLUMNS, gram.BLOCK_COLUMNS_MAX


@pytest.mark.parametrize(
    ("n", "size"),
    [(1, 1), (2, STRIP), (3, STRIP + 1), (4, BLOCK - 1), (8, 9), (9, BLOCK + STRIP), (17, BLOCK + 1),
     (40, STRIP + 5), (64, 19), (65, 77), (300, 33)],
)  # fmt: skip
@pytest.mark.parametrize("is_panelled", [True, False])
def test_products_are_those_of_whole_integers(
    monkeypatch: pytest.MonkeyPatch, n: int, size: int, is_panelled: bool
) -> None:
    monkeypatch.setattr(gram, "has_small_products", lambda: is_panelled)
    rows = np.random.default_rng(size).integers(-32767, 32768, (n, size)).astype(np.int16)
    wide = rows.astype(np.int64)
    expected = (wide @ wide.T).tolist()
    assert gram.gram(list(rows)) == expected
    for fresh in {1, n // 2, n - 1, n} - {0}:
        assert gram.partial_gram(list(rows), fresh).tolist() == expected[:fresh]


def test_512_extreme_neighbours_sum_exactly() -> None:
    block = np.full((512, 5), 32767, np.int16)
    block[-1] = 32766
    assert set(gram.neighbour_sums(np.ones((2, 512), np.int64), 5)(list(block)).ravel().tolist()) == {
        512 * 32767 - 1
    }


def test_the_heaviest_weighted_sum_is_exact() -> None:
    rows = [np.full(3, value, np.int16) for value in (32767, -32767, 32766)]
    out = np.empty(3, np.int64)
    gram.weighted_sum([(1 << 30) - 3, 1, 2], 3)(rows, out)
    assert out.tolist() == [32767 * ((1 << 30) - 4) + 2 * 32766] * 3


def test_this_machine_passes_its_self_test() -> None:
    assert gram.self_test()


@pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value encountered")
@pytest.mark.parametrize("narrow", ["gram", "sums", "weights"])
def test_a_blas_that_loses_bits_is_found_and_replaced_by_integers(
    monkeypatch: pytest.MonkeyPatch, narrow: str
) -> None:
    def lossy(exact: Any, narrower: type[np.number[Any]], wide: type[np.number[Any]]) -> Any:
        """Run `exact` as on a machine whose `wide` type is computed in `narrower`."""

        def run(*arguments: Any) -> Any:
            carriers.append(arguments[-1])
            return exact(*arguments[:-1], narrower if arguments[-1] is wide else arguments[-1])

        return run

    carriers: list[type] = []
    if narrow == "gram":
        monkeypatch.setattr(gram, "_gram", lossy(gram._gram, np.float32, np.float64))
    elif narrow == "weights":
        monkeypatch.setattr(gram, "_weighted_sum", lossy(gram._weighted_sum, np.float32, np.float64))
    else:
        monkeypatch.setattr(gram, "_neighbour_sums", lossy(gram._neighbour_sums, np.float16, np.float32))
    assert not gram.self_test()
    rows = np.full((2, 9), 32767, np.int16)
    rows[1, 3] = 12345
    square, mixed, other = 9 * 32767**2, 8 * 32767**2 + 32767 * 12345, 8 * 32767**2 + 12345**2
    assert gram.gram(list(rows)) == [[square, mixed], [mixed, other]]
    assert gram.neighbour_sums(np.ones((1, 2), np.int64), 9)(list(rows))[0, :4].tolist() == [
        65534,
        65534,
        65534,
        45112,
    ]
    out = np.empty(9, np.int64)
    gram.weighted_sum([(1 << 30) - 1, 1], 9)(list(rows), out)
    assert set(out.tolist()) == {32767 << 30, (32767 << 30) - 32767 + 12345}
    assert carriers[-1] in (np.int64, np.int32)
