"""The direction of largest variance, by squaring a matrix until one eigenvalue drowns the others.

A power iteration needs a start vector, which an attacker could make orthogonal to the direction that betrays
it. Squaring needs none: the p-th power of a matrix is the sum of its eigenvectors weighted by the p-th powers
of their eigenvalues.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from p2pfed.aggregation.rule import Gram

ENTRY_BITS = 22  # Products of two entries, summed over up to 2^18 pairs, are at most 2^62.
SQUARINGS = 8  # The 256th power: an eigenvalue 3 % smaller has a weight of 1/2000 left.

Matrices = NDArray[np.int64]


def centred(products: Gram) -> Gram:
    """Return n^2 times the inner products of the rows less their mean; exact."""
    n = len(products)
    sums = [sum(row) for row in products]
    total = sum(sums)
    return [
        [n * n * inner - n * (own + other) + total for inner, other in zip(row, sums, strict=True)]
        for row, own in zip(products, sums, strict=True)
    ]


def narrowed(products: Gram, bits: int) -> tuple[Matrices, int]:
    """Return `products >> shift` with absolute values of at most `bits` bits, and the least such shift."""
    largest = max(max(abs(value) for value in row) for row in products)
    shift = max(0, largest.bit_length() - bits)
    return np.array([[value >> shift for value in row] for row in products], np.int64), shift


def normalised(matrices: Matrices) -> Matrices:
    """Shift each matrix of a stack right until its entries have at most ENTRY_BITS bits; shape `(..., k,
    k)`.
    """
    return matrices >> entry_shifts(matrices)[..., None, None]


def entry_shifts(matrices: Matrices) -> NDArray[np.int64]:
    """Return by how many bits each matrix must be shifted for `normalised`; shape `(...)`."""
    largest = np.abs(matrices).max((-2, -1))
    shifts = np.zeros(largest.shape, np.int64)
    # bit_length without floats: halve what is too long, largest steps first.
    for step in (32, 16, 8, 4, 2, 1):
        is_long = (largest >> shifts) >> (ENTRY_BITS + step - 1) > 0
        shifts += step * is_long
    return shifts
