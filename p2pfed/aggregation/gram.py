"""Exact matrix products of integers, carried by float64 and float32 where BLAS provably keeps every bit.

The only file of this room where floats may appear. A sum of products that stays below 2^52 in float64 (2^24
in float32) is exact whatever the order, the thread count or the use of fused multiply-add. `self_test` asks
the BLAS of this machine at extreme values; where it fails, the same code runs over integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2pfed.aggregation.division import Sums
from p2pfed.aggregation.rule import Gram, IntRow
from p2pfed.types.model import Int16Vector
from p2pfed.types.params import COORDINATE_MAX, GROUP_ELEMENTS_MAX, UPDATES_MAX

Mask = NDArray[np.integer[Any]]
_Carrier = type[np.number[Any]]

BLOCK_COLUMNS = 1 << 13  # 64 KiB of float64 a row: converted and multiplied while it is in the cache.


def gram(rows: Sequence[Int16Vector]) -> Gram:
    """Return the exact inner products of all pairs of rows, as Python integers.

    Bounds:
        `GROUP_ELEMENTS_MAX * COORDINATE_MAX^2 < 2^22 * 2^30 = 2^52`, and no partial sum is larger.
    """
    products: Gram = partial_gram(rows).tolist()
    return products


def partial_gram(rows: Sequence[Int16Vector]) -> NDArray[np.int64]:
    """Return the inner products over some columns of a group; those of all its columns add up to `gram`."""
    return _gram(rows, np.float64 if self_test() else np.int64)


def neighbour_sums(mask: Mask, rows: Sequence[IntRow]) -> NDArray[np.int32]:
    """Return, for each row i of `mask`, the sum of `mask[i, j]` times row j; int32, shape `(m, columns)`.

    Bounds:
        No row of `mask` sums to more than UPDATES_MAX, and `2^9 * 32767 < 2^24`: exact in float32.
    """
    return _neighbour_sums(mask, rows, np.float32 if self_test() else np.int32)


def weighted_sum(weights: Sequence[int], rows: Sequence[IntRow], out: Sums) -> None:
    """Write `sum weights[i] * rows[i]` to `out`, shape `(columns,)`; rows int16, shape `(columns,)`.

    Bounds:
        The weights are at least 0 and sum to at most 2^30, so no partial sum reaches `2^45`: exact in
        float64.
    """
    _weighted_sum(weights, rows, out, np.float64 if self_test() else np.int64)


def _weighted_sum(weights: Sequence[int], rows: Sequence[IntRow], out: Sums, carrier: _Carrier) -> None:
    block: NDArray[Any] = np.array(rows, dtype=carrier)
    out[:] = np.array(weights, carrier) @ block


def _gram(rows: Sequence[Int16Vector], carrier: _Carrier) -> NDArray[np.int64]:
    n, size = len(rows), rows[0].size
    assert n <= UPDATES_MAX
    assert size <= GROUP_ELEMENTS_MAX
    block: NDArray[Any] = np.empty((n, min(size, BLOCK_COLUMNS)), carrier)
    total: NDArray[Any] = np.zeros((n, n), carrier)
    for begin in range(0, size, BLOCK_COLUMNS):
        part = block[:, : min(BLOCK_COLUMNS, size - begin)]
        for index, row in enumerate(rows):
            part[index] = row[begin : begin + BLOCK_COLUMNS]
        total += part @ part.T
    return total.astype(np.int64)


def _neighbour_sums(mask: Mask, rows: Sequence[IntRow], carrier: _Carrier) -> NDArray[np.int32]:
    assert len(rows) <= UPDATES_MAX
    sums: NDArray[Any] = mask.astype(carrier) @ np.array(rows, dtype=carrier)
    return sums.astype(np.int32)


@lru_cache(maxsize=1)
def self_test() -> bool:
    """Answer whether BLAS on this machine is exact at the extreme values that the bounds allow.

    Asked once a process; it takes a few milliseconds. A BLAS that computes in a narrower type than it was
    given (as some accelerators do) fails here and costs time, not agreement.
    """
    column = np.arange(2 * BLOCK_COLUMNS + 3, dtype=np.int64)
    extremes = np.full((9, column.size), COORDINATE_MAX, np.int16)
    for index in range(1, len(extremes)):
        # Nearly equal large values with their own pattern of signs: cancellation shows every lost bit.
        values = (COORDINATE_MAX - column * index % 7) * (1 - 2 * ((column >> (index - 1)) & 1))
        extremes[index] = values
    if not np.array_equal(_gram(list(extremes), np.float64), _gram(list(extremes), np.int64)):
        return False
    if not _is_sum_exact(list(extremes)):
        return False
    rows = np.full((UPDATES_MAX, 33), COORDINATE_MAX, np.int16)
    rows[:, 1::2] -= np.arange(UPDATES_MAX, dtype=np.int16)[:, None]
    rows[::3, 2::4] *= -1
    mask = np.ones((4, UPDATES_MAX), np.int64)
    mask[1, ::2] = mask[2, :1] = mask[3, 1::3] = 0
    return np.array_equal(
        _neighbour_sums(mask, list(rows), np.float32), _neighbour_sums(mask, list(rows), np.int32)
    )


def _is_sum_exact(rows: Sequence[Int16Vector]) -> bool:
    weights = [(1 << 29) - 1, 1, *((1 << 25) - 3 * row for row in range(2, len(rows)))]
    sums = np.empty((2, rows[0].size), np.int64)
    _weighted_sum(weights, rows, sums[0], np.float64)
    _weighted_sum(weights, rows, sums[1], np.int64)
    return np.array_equal(sums[0], sums[1])
