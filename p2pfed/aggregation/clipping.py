"""Median-norm clipping: no row is longer than the median row, so no liar wins by shouting."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from p2pfed.aggregation.gram import Gram
from p2pfed.types.model import Int16Vector

FACTOR_BITS = 15
FACTOR_ONE = 1 << FACTOR_BITS  # A row at or below the median norm passes unchanged.


def clip_factors(products: Gram) -> list[int]:
    """Return each row's factor in units of 2^-15, from the exact Gram matrix of the rows.

    The norms are floors of square roots; the median of an even number is the larger of the two in the middle.
    """
    norms = [isqrt(products[row][row]) for row in range(len(products))]
    largest = sorted(norms)[len(norms) // 2]
    return [FACTOR_ONE if norm <= largest else largest * FACTOR_ONE // norm for norm in norms]


def clip_rows(rows: Sequence[Int16Vector], factors: Sequence[int], out: NDArray[np.int16]) -> None:
    """Write `(q * c + 2^14) >> 15` of each row to `out`, int16, shape `(n, columns)`.

    Bounds:
        `|q * c| <= 32767 * 2^15`, so int32 holds the product with its rounding; the result is within `|q|`.
    """
    for row, factor, clipped in zip(rows, factors, out, strict=True):
        if factor == FACTOR_ONE:
            clipped[:] = row
        else:
            product = np.multiply(row, np.int32(factor), dtype=np.int32)
            product += 1 << (FACTOR_BITS - 1)
            product >>= FACTOR_BITS
            clipped[:] = product
