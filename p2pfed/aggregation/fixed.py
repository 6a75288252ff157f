"""Exact helpers for n x n arithmetic: shares, big inner products in limbs, distances, logarithms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from p2pfed.aggregation.rule import Gram
from p2pfed.types.params import UPDATES_MAX

LIMB_BITS = 22
FACTOR_MAX = 1 << 30  # A limb times this, summed over 2^9 rows, is at most 2^61: int64 holds it.
LOG_BITS = 16


def shares(values: Sequence[int], whole: int) -> list[int]:
    """Return integers that sum to `whole`, proportional to `values`, by largest remainder; lower rows first.

    Args:
        values: At least 0, and not all of them 0.
    """
    total = sum(values)
    quotas = [divmod(value * whole, total) for value in values]
    result = [quotient for quotient, _ in quotas]
    by_remainder = sorted(range(len(quotas)), key=lambda row: (-quotas[row][1], row))
    for row in by_remainder[: whole - sum(result)]:
        result[row] += 1
    return result


class Products:
    """A matrix of big integers, cut into limbs so that numpy can multiply it exactly.

    `value = sum limb_k * 2^(22 k)`; all limbs but the highest are below 2^22 and not negative.
    """

    def __init__(self, products: Gram) -> None:
        assert len(products) <= UPDATES_MAX
        rest = np.array(products, dtype=object)
        self.limbs: list[NDArray[np.int64]] = []
        largest = max(max(abs(value) for value in row) for row in products)
        for _ in range(max(0, largest.bit_length() - LIMB_BITS) // LIMB_BITS + 1):
            self.limbs.append((rest & ((1 << LIMB_BITS) - 1)).astype(np.int64))
            rest = rest >> LIMB_BITS
        self.limbs.append(rest.astype(np.int64))

    def times(self, vector: Sequence[int]) -> list[int]:
        """Return the product with a vector of values within +-FACTOR_MAX."""
        factor = np.array(vector, np.int64)
        sums = [(limb @ factor).tolist() for limb in self.limbs]
        return [_joined(column) for column in zip(*sums, strict=True)]

    def between(self, matrix: NDArray[np.int64]) -> Gram:
        """Return `matrix @ self @ matrix.T`, for a matrix whose rows sum to at most 2^10 in absolute value.

        Bounds:
            A limb below 2^22 times 2^10 twice is at most 2^42.
        """
        flat = [(matrix @ limb @ matrix.T).ravel().tolist() for limb in self.limbs]
        values = [_joined(column) for column in zip(*flat, strict=True)]
        width = len(matrix)
        return [values[start : start + width] for start in range(0, len(values), width)]


def _joined(limbs: Sequence[int]) -> int:
    value = 0
    for limb in reversed(limbs):
        value = (value << LIMB_BITS) + limb
    return value


def distances(products: Gram) -> Gram:
    """Return the squared distances of all pairs of rows: `G_ii + G_jj - 2 G_ij`, exact and never negative."""
    squares = [products[row][row] for row in range(len(products))]
    return [
        [square + other - 2 * inner for other, inner in zip(squares, row, strict=True)]
        for square, row in zip(squares, products, strict=True)
    ]


def nearest(distances_of_row: Sequence[int], count: int) -> list[int]:
    """Return the `count` nearest rows; equal distances: the lower row first."""
    return sorted(range(len(distances_of_row)), key=distances_of_row.__getitem__)[:count]


def log2(value: int) -> int:
    """Return the floor of `2^16 * log2(value)`, give or take the rounding of sixteen squarings; value >=
    1.
    """
    whole = value.bit_length() - 1
    mantissa = (value << 32) >> whole  # In [1, 2), 32 bits after the point.
    fraction = 0
    for _ in range(LOG_BITS):
        mantissa = (mantissa * mantissa) >> 32
        fraction <<= 1
        if mantissa >> 33:
            fraction |= 1
            mantissa >>= 1
    return (whole << LOG_BITS) + fraction
