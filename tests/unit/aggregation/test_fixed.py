"""Exact n x n arithmetic holds at the largest values that any rule can bring."""

from __future__ import annotations

from math import log2 as real_log2

import numpy as np
import pytest

from p2pfed.aggregation.fixed import FACTOR_MAX, Products, distances, log2, nearest, shares
from p2pfed.aggregation.spectrum import ENTRY_BITS, centred, entry_shifts, narrowed, normalised

LARGEST = (512 * 32767) ** 2 << 52  # Mixed of 512 and scaled by 2^15, over 2^22 columns.


@pytest.mark.parametrize("value", [0, 1, -1, 2**22 - 1, 2**22, -(2**22), 2**44, LARGEST, -LARGEST])
def test_limbs_multiply_like_python_integers(value: int) -> None:
    n = 5
    table = [[value + row - column for column in range(n)] for row in range(n)]
    products = Products(table)
    vector = [FACTOR_MAX, -FACTOR_MAX, 0, 1, FACTOR_MAX - 1]
    expected = [sum(a * b for a, b in zip(row, vector, strict=True)) for row in table]
    assert products.times(vector) == expected
    matrix = np.array([[512, 0, 0, 512, 0], [0, 1, 1, 1, 1], [1024, 0, 0, 0, 0]], np.int64)
    lists = matrix.tolist()
    between = [
        [sum(a * table[i][j] * b for i, a in enumerate(x) for j, b in enumerate(y)) for y in lists]
        for x in lists
    ]
    assert products.between(matrix) == between


def test_512_rows_of_the_largest_products_do_not_wrap() -> None:
    products = Products([[LARGEST] * 512] * 512)
    assert products.times([FACTOR_MAX] * 512) == [512 * LARGEST * FACTOR_MAX] * 512


def test_shares_go_to_the_largest_remainders_and_then_to_the_first() -> None:
    assert shares([1, 1, 1], 4) == [2, 1, 1]
    assert shares([1, 2, 4], 8) == [1, 2, 5]
    assert shares([0, 5], 3) == [0, 3]


def test_distances_are_exact_and_ties_go_to_the_lower_row() -> None:
    points = [3, -1, 7, 3]
    table = distances([[a * b for b in points] for a in points])
    assert table == [[(a - b) ** 2 for b in points] for a in points]
    assert nearest(table[0], 3) == [0, 3, 1]


@pytest.mark.parametrize("value", [1, 2, 3, 7, 2**15 - 1, 2**15, 99 * 2**15 // 100, 2**40 + 1])
def test_the_logarithm_is_right_to_a_few_units(value: int) -> None:
    assert abs(log2(value) - real_log2(value) * 2**16) < 2


def test_matrices_shrink_to_22_bits_by_the_least_shift() -> None:
    values = [0, 1, 2**22 - 1, 2**22, -(2**22), 2**61, -(2**61)]
    stack = np.array([[[value, 0], [0, -1]] for value in values], np.int64)
    assert entry_shifts(stack).tolist() == [max(0, abs(value).bit_length() - ENTRY_BITS) for value in values]
    assert np.abs(normalised(stack)).max() <= 2**22
    narrow, shift = narrowed([[LARGEST, -1], [-1, 5]], 40)
    assert (narrow.tolist(), shift) == ([[LARGEST >> shift, -1], [-1, 0]], LARGEST.bit_length() - 40)


def test_centred_products_are_those_of_rows_less_their_mean() -> None:
    rows = [[5, -2], [1, 1], [9, 4]]
    sums = [sum(column) for column in zip(*rows, strict=True)]
    moved = [[3 * q - total for q, total in zip(row, sums, strict=True)] for row in rows]
    plain = [[sum(a * b for a, b in zip(x, y, strict=True)) for y in rows] for x in rows]
    assert centred(plain) == [[sum(a * b for a, b in zip(x, y, strict=True)) for y in moved] for x in moved]
