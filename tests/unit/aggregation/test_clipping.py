"""No row is longer than the median row after the clip, and rows below it are untouched."""

from __future__ import annotations

from math import isqrt

import numpy as np

from p2pfed.aggregation.clipping import clip_factors
from p2pfed.aggregation.mixture import FACTOR_ONE, scale_rows
from p2pfed.types.model import Int16Vector


def diagonal(*squares: int) -> list[list[int]]:
    return [
        [square if row == column else 0 for column in range(len(squares))]
        for row, square in enumerate(squares)
    ]


def scaled(rows: list[Int16Vector], factors: list[int]) -> Int16Vector:
    size = rows[0].size
    scratch, before = np.empty((len(rows), size), np.int16), np.array(rows)
    result = np.array(scale_rows(rows, factors, scratch, np.empty(size, np.int32)))
    assert (np.array(rows) == before).all(), "the rows are someone else's"
    return result


def test_only_rows_above_the_median_norm_shrink() -> None:
    assert clip_factors(diagonal(100, 900, 400)) == [FACTOR_ONE, FACTOR_ONE * 20 // 30, FACTOR_ONE]


def test_of_two_middle_norms_the_larger_counts() -> None:
    assert clip_factors(diagonal(1, 4, 9, 16)) == [FACTOR_ONE, FACTOR_ONE, FACTOR_ONE, FACTOR_ONE * 3 // 4]


def test_norms_are_floors_of_square_roots() -> None:
    assert clip_factors(diagonal(8, 8, 15)) == [FACTOR_ONE, FACTOR_ONE, FACTOR_ONE * 2 // 3]
    assert clip_factors(diagonal(8, 8, 8)) == [FACTOR_ONE] * 3


def test_beside_a_majority_of_zeros_a_shout_becomes_silence() -> None:
    factors = clip_factors(diagonal(0, 0, 10**12))
    assert factors == [FACTOR_ONE, FACTOR_ONE, 0]
    assert scaled([np.array([-32767, 5, 32767], np.int16)], factors[2:]).tolist() == [[0, 0, 0]]


def test_the_factor_next_to_one_still_shortens() -> None:
    rows = [np.array([32767, -32767, 3], np.int16)] * 2
    assert scaled(rows, [FACTOR_ONE - 1, FACTOR_ONE]).tolist() == [[32766, -32766, 3], [32767, -32767, 3]]


def test_halves_round_up() -> None:
    assert scaled([np.array([3, -3, 1, -1], np.int16)], [FACTOR_ONE // 2]).tolist() == [[2, -1, 1, 0]]


def test_a_clipped_row_is_as_long_as_the_median_up_to_rounding() -> None:
    rows = np.random.default_rng(3).integers(-9000, 9000, (5, 2000))
    rows[1] *= 3
    factors = clip_factors((rows @ rows.T).tolist())
    out = scaled(list(rows.astype(np.int16)), factors)
    norms = [isqrt(int(row @ row)) for row in out.astype(np.int64)]
    median = sorted(isqrt(int(row @ row)) for row in rows)[2]
    assert max(norms) <= median + isqrt(2000)
    assert norms[1] >= median - isqrt(2000)
