"""Exact matrix products of integers, carried by float64 and float32 where BLAS provably keeps every bit.

The only file of this room where floats may appear. A sum of products that stays below 2^52 in float64 (2^24
in float32) is exact whatever the order, the thread count or the use of fused multiply-add. `self_test` asks
the BLAS of this machine at extreme values; where it fails, the same code runs over integers. Inner products
come from `_gram.c` where it was compiled and computes what integers do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2pfed.aggregation.division import Sums
from p2pfed.aggregation.rule import Gram, IntRow
from p2pfed.types.model import Int16Vector
from p2pfed.types.params import COORDINATE_MAX, GROUP_ELEMENTS_MAX, UPDATES_MAX

try:
    from p2pfed.aggregation import _gram as _compiled
except ImportError:  # There was no compiler when this was installed.
    _compiled = None  # type: ignore[assignment]

Mask = NDArray[np.integer[Any]]
_Carrier = type[np.number[Any]]

# Rows are converted and multiplied while they are in the cache: up to 16 rows fill 2 MiB of float64, more
# rows get shorter blocks.
BLOCK_VALUES = 1 << 18
STRIP_COLUMNS = 1 << 10
BLOCK_COLUMNS_MAX = 16 * STRIP_COLUMNS
# With AVX-512 OpenBLAS multiplies small matrices without copying them first, which costs half of the time of
# 16 rows. It counts as small what has at most 10^6 multiplications: 1,024 columns of 8 rows by 64.
PANEL_ROWS = 8
PANELLED_ROWS_MAX = 64

Mixer = Callable[[Sequence[IntRow]], NDArray[np.int32]]
"""`rows -> sums`: one block of columns; the result is overwritten by the next call."""
Adder = Callable[[Sequence[IntRow], Sums], None]
"""`(rows, out)`: one block of columns."""


def gram(rows: Sequence[Int16Vector]) -> Gram:
    """Return the exact inner products of all pairs of rows, as Python integers.

    Bounds:
        `GROUP_ELEMENTS_MAX * COORDINATE_MAX^2 < 2^22 * 2^30 = 2^52`, and no partial sum is larger.
    """
    products: Gram = partial_gram(rows).tolist()
    return products


def partial_gram(rows: Sequence[Int16Vector], fresh: int | None = None) -> NDArray[np.int64]:
    """Return the inner products over some columns of a group; those of all its columns add up to `gram`.

    Args:
        rows: int16, of one length.
        fresh: Only the first so many rows are multiplied, with all; None for all. Shape `(fresh, n)`.
    """
    count = len(rows) if fresh is None else fresh
    if has_compiled():
        return _compiled_gram(rows, count)
    return _gram(rows, count, np.float64 if self_test() else np.int64)


def neighbour_sums(mask: Mask, elements: int) -> Mixer:
    """Return a function that gives, for each row i of `mask`, the sum of `mask[i, j]` times row j; int32.

    Args:
        mask: Shape `(m, n)`.
        elements: Columns of a block, at most.

    Bounds:
        No row of `mask` sums to more than UPDATES_MAX, and `2^9 * 32767 < 2^24`: exact in float32.
    """
    return _neighbour_sums(mask, elements, np.float32 if self_test() else np.int32)


def weighted_sum(weights: Sequence[int], elements: int) -> Adder:
    """Return a function that writes `sum weights[i] * rows[i]` to `out`; rows int16.

    Bounds:
        The weights are at least 0 and sum to at most 2^30, so no partial sum reaches `2^45`: exact in
        float64.
    """
    return _weighted_sum(weights, elements, np.float64 if self_test() else np.int64)


def _weighted_sum(weights: Sequence[int], elements: int, carrier: _Carrier) -> Adder:
    # Buffers are made once: a fresh one for each block costs as much as the sums.
    factors: NDArray[Any] = np.array(weights, carrier)
    memory: NDArray[Any] = np.empty(len(weights) * elements, carrier)
    sums: NDArray[Any] = np.empty(elements, carrier)

    def add(rows: Sequence[IntRow], out: Sums) -> None:
        np.matmul(factors, _carried(rows, memory), out=sums[: out.size])
        out[:] = sums[: out.size]

    return add


def _neighbour_sums(mask: Mask, elements: int, carrier: _Carrier) -> Mixer:
    count, received = mask.shape
    assert received <= UPDATES_MAX
    factors: NDArray[Any] = mask.astype(carrier)
    memory: NDArray[Any] = np.empty(received * elements, carrier)
    sums: NDArray[Any] = np.empty((count, elements), carrier)
    result = np.empty((count, elements), np.int32)

    def mix(rows: Sequence[IntRow]) -> NDArray[np.int32]:
        size = rows[0].size
        np.matmul(factors, _carried(rows, memory), out=sums[:, :size])
        result[:, :size] = sums[:, :size]
        return result[:, :size]

    return mix


def _gram(rows: Sequence[Int16Vector], fresh: int, carrier: _Carrier) -> NDArray[np.int64]:
    n, size = len(rows), rows[0].size
    assert fresh <= n <= UPDATES_MAX
    assert size <= GROUP_ELEMENTS_MAX
    columns = max(STRIP_COLUMNS, min(BLOCK_COLUMNS_MAX, BLOCK_VALUES // n // STRIP_COLUMNS * STRIP_COLUMNS))
    memory: NDArray[Any] = np.empty(n * min(columns, size), carrier)
    total: NDArray[Any] = np.zeros((fresh, n), carrier)
    is_panelled = 1 < n <= PANELLED_ROWS_MAX and has_small_products()
    panels = _panels(fresh, n) if is_panelled else [(0, fresh, 0)]
    strip = STRIP_COLUMNS if is_panelled else columns
    for begin in range(0, size, columns):
        part = _carried([row[begin : begin + columns] for row in rows], memory)
        whole = part.shape[1] // strip * strip
        strips = part[:, :whole].reshape(n, -1, strip).transpose(1, 0, 2)
        rest = part[:, whole:]
        for low, high, first in panels:
            products = total[low:high, first:]
            if whole:
                products += (strips[:, low:high] @ strips[:, first:].transpose(0, 2, 1)).sum(0)
            if whole < part.shape[1]:
                products += rest[low:high] @ rest[first:].T
    _mirror(total)  # Panels left out what lies below the diagonal.
    return total.astype(np.int64)


def _compiled_gram(rows: Sequence[Int16Vector], fresh: int) -> NDArray[np.int64]:
    assert fresh <= len(rows) <= UPDATES_MAX
    assert rows[0].size <= GROUP_ELEMENTS_MAX
    total = np.zeros((fresh, len(rows)), np.int64)
    _compiled.add_gram(tuple(map(np.ascontiguousarray, rows)), fresh, total)
    _mirror(total)
    return total


def _mirror(products: NDArray[Any]) -> None:
    """Copy what lies above the diagonal of the first columns below it."""
    square = products[:, : len(products)]
    square[:] = np.triu(square) + np.triu(square, 1).T


def _carried(rows: Sequence[IntRow], memory: NDArray[Any]) -> NDArray[Any]:
    """Return the rows as one matrix of the carrier that fills the front of `memory`, in one call."""
    block = memory[: len(rows) * rows[0].size]
    np.concatenate(rows, out=block)
    return block.reshape(len(rows), -1)


@lru_cache(maxsize=1)
def has_small_products() -> bool:
    """Answer whether OpenBLAS has kernels for small matrices here, as it does with AVX-512.

    It decides how a product is cut, never its bits: without them `syrk` over long strips takes two thirds of
    the time of panels, with them twice as much.
    """
    found = np.show_config(mode="dicts")["SIMD Extensions"]["found"]
    return any(name == "X86_V4" or name.startswith("AVX512") for name in found)


def _panels(fresh: int, n: int) -> list[tuple[int, int, int]]:
    """Return `(low, high, first)` of the panels: the rows from `low` to `high` are multiplied with those from
    `first` on.

    A panel times itself would be handed to `syrk`, which copies; so it gets one row more than it has itself.
    """
    rows = min(PANEL_ROWS, (n + 1) // 2)
    panels = [(low, min(low + rows, fresh), low) for low in range(0, fresh, rows)]
    if fresh == n:
        low, high, first = panels[-1]
        panels[-1] = (low, high, first - 1)
    return panels


@lru_cache(maxsize=1)
def has_compiled() -> bool:
    """Answer whether there is a compiled kernel that computes the integers that it should."""
    if _compiled is None:
        return False
    return all(
        np.array_equal(_compiled_gram(rows, fresh), _gram(rows, fresh, np.int64))
        for rows in _extremes()
        for fresh in (len(rows), 2)
    )


@lru_cache(maxsize=1)
def self_test() -> bool:
    """Answer whether BLAS on this machine is exact at the extreme values that the bounds allow.

    Asked once a process; it takes a few milliseconds. A BLAS that computes in a narrower type than it was
    given (as some accelerators do) fails here and costs time, not agreement.
    """
    for rows in _extremes():
        if not np.array_equal(_gram(rows, len(rows), np.float64), _gram(rows, len(rows), np.int64)):
            return False
    return _is_weighted_sum_exact(_extremes()[0]) and _are_neighbour_sums_exact()


def _extremes() -> list[list[Int16Vector]]:
    """Return a few long rows and many short ones of the values where a lost bit shows."""
    column = np.arange(BLOCK_COLUMNS_MAX + STRIP_COLUMNS + 3, dtype=np.int64)
    extremes = np.full((9, column.size), COORDINATE_MAX, np.int16)
    for index in range(1, len(extremes)):
        # Nearly equal large values with their own pattern of signs: cancellation shows every lost bit.
        values = (COORDINATE_MAX - column * index % 7) * (1 - 2 * ((column >> (index - 1)) & 1))
        extremes[index] = values
    rows = list(extremes)
    return [rows, [row[-99:] for row in rows] * (PANELLED_ROWS_MAX // len(rows) + 1)]


def _is_weighted_sum_exact(rows: Sequence[Int16Vector]) -> bool:
    weights = [(1 << 29) - 1, 1, *((1 << 25) - 3 * row for row in range(2, len(rows)))]
    sums = np.empty((2, rows[0].size), np.int64)
    _weighted_sum(weights, rows[0].size, np.float64)(rows, sums[0])
    _weighted_sum(weights, rows[0].size, np.int64)(rows, sums[1])
    return np.array_equal(sums[0], sums[1])


def _are_neighbour_sums_exact() -> bool:
    rows = np.full((UPDATES_MAX, 33), COORDINATE_MAX, np.int16)
    rows[:, 1::2] -= np.arange(UPDATES_MAX, dtype=np.int16)[:, None]
    rows[::3, 2::4] *= -1
    mask = np.ones((4, UPDATES_MAX), np.int64)
    mask[1, ::2] = mask[2, :1] = mask[3, 1::3] = 0
    exact = _neighbour_sums(mask, 33, np.int32)(list(rows))
    return np.array_equal(_neighbour_sums(mask, 33, np.float32)(list(rows)), exact)
