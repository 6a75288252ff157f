"""Exponents follow the honest updates, within their limits, and no liar steers them."""

from __future__ import annotations

import numpy as np
import pytest

from p2pfed.aggregation.exponents import adapted_exponent, peak, re_exponent


@pytest.mark.parametrize(
    ("bits", "change"),
    [(15, -3), (14, -2), (13, 0), (12, 0), (11, 0), (10, 2), (9, 2), (1, 2), (0, 0)],
)
def test_updates_of_twelve_bits_are_wanted(bits: int, change: int) -> None:
    assert adapted_exponent(10, [(1 << bits) - 1], 0, 12) == 10 + change


def test_a_fall_is_at_most_four_and_a_rise_at_most_two() -> None:
    assert adapted_exponent(10, [32767], 0, 10) == 6
    assert adapted_exponent(10, [1], 0, 14) == 12


@pytest.mark.parametrize("peaks", [[2901], [32767, 1]])
def test_no_more_updates_than_possible_liars_leave_the_exponent_alone(peaks: list[int]) -> None:
    assert adapted_exponent(14, peaks, len(peaks), 12) == 14


def test_of_three_none_is_mistrusted_and_of_four_one_is() -> None:
    assert adapted_exponent(10, [4000, 60, 60], 0, 12) == 10
    assert adapted_exponent(10, [4000, 60, 60, 60], 0, 12) == 12


def test_e_stays_within_its_range() -> None:
    assert adapted_exponent(-7, [32767], 0, 10) == -8
    assert adapted_exponent(29, [1], 0, 12) == 30


@pytest.mark.parametrize("lie", [0, 1, 32767])
@pytest.mark.parametrize(("n", "f"), [(4, 1), (7, 2), (7, 3), (10, 3), (33, 16), (512, 255)])
def test_liars_cannot_move_the_exponent_that_the_honest_updates_keep(n: int, f: int, lie: int) -> None:
    assert adapted_exponent(10, [lie] * f + [4000] * (n - f), f, 12) == 10


def test_a_third_is_mistrusted_even_where_stake_says_that_nobody_lies() -> None:
    assert adapted_exponent(10, [32767, 4000, 4000, 4000], 0, 12) == 10
    assert adapted_exponent(10, [32767, 32767, 4000, 4000], 0, 12) == 7


def test_growing_updates_walk_the_exponent_down_until_they_fit() -> None:
    e, size, walk = 12, 60.0, []
    for _ in range(6):
        peaks = [min(32767, int(size * 2.0**e))]
        e = adapted_exponent(e, peaks, 0, 12)
        walk.append(e)
    assert walk == [9, 6, 6, 6, 6, 6]


def test_the_peak_of_a_row_is_its_largest_magnitude() -> None:
    assert peak(np.array([3, -32767, 8], np.int16)) == 32767
    assert peak(np.array([0, 9], np.int16)) == 9


def test_a_weight_at_the_limit_costs_two_bits_and_rounds_half_up() -> None:
    weights = np.array([2**29, -(2**29), 6, -6, 5, 1], np.int64)
    assert re_exponent(weights, 20, 10) == 18
    assert weights.tolist() == [2**27, -(2**27), 2, -1, 1, 0]


def test_a_weight_below_the_limit_stays() -> None:
    weights = np.array([2**29 - 1, -(2**29 - 1)], np.int64)
    assert re_exponent(weights, 20, 10) == 20
    assert weights.tolist() == [2**29 - 1, -(2**29 - 1)]


def test_a_negative_weight_counts_as_much_as_a_positive_one() -> None:
    assert re_exponent(np.array([-(2**29), 0], np.int64), 20, 10) == 18


@pytest.mark.parametrize(("exponent", "expected"), [(0, 0), (1, 1), (2, 0), (3, 1)])
def test_the_last_two_bits_cannot_be_taken_twice(exponent: int, expected: int) -> None:
    weights = np.array([2**31 - 1], np.int64)
    assert re_exponent(weights, exponent, 10) == expected


def test_a_model_unit_follows_an_update_unit_that_falls() -> None:
    weights = np.array([160], np.int64)
    assert re_exponent(weights, 24, 10) == 24
    assert re_exponent(weights, 24, 9) == 22
    assert re_exponent(weights, 22, 6) == 20
    assert weights.tolist() == [10]
