"""Weights are exact shares of 2^30, and nobody gains by where the remainder falls."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pfed.aggregation.catalogue import named_rule
from p2pfed.aggregation.division import RuleSum, model_units
from p2pfed.aggregation.group import BLOCK_ELEMENTS, rule_sum
from p2pfed.aggregation.mean import WEIGHT_TOTAL, example_weights


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 1 << 40), min_size=1, max_size=512))
def test_weights_sum_to_the_whole_and_are_within_one_unit_of_their_share(examples: list[int]) -> None:
    weights = example_weights(examples, 0)
    assert sum(weights) == WEIGHT_TOTAL
    whole = sum(examples)
    for weight, claim in zip(weights, examples, strict=True):
        assert abs(weight - Fraction(claim * WEIGHT_TOTAL, whole)) < 1


def test_equal_remainders_go_to_the_first_rows() -> None:
    third = WEIGHT_TOTAL // 3
    assert example_weights([7, 7, 7], 0) == [third + 1, third, third]


def test_the_largest_remainder_is_served_first() -> None:
    # Shares 2^30 / 7 * (1, 2, 4): 2^30 = 1 mod 7, so the remainders are 1, 2 and 4 sevenths.
    assert [
        weight - WEIGHT_TOTAL * part // 7
        for weight, part in zip(example_weights([1, 2, 4], 0), (1, 2, 4), strict=True)
    ] == [0, 0, 1]


@pytest.mark.parametrize(
    ("examples", "cap", "counted"),
    [
        ([1, 1, 1000], 4, [1, 1, 4]),
        ([1, 2, 3, 1000], 1, [1, 2, 3, 3]),  # The median of four is the third.
        ([1, 1, 1000], 0, [1, 1, 1000]),
        ([5], 1, [5]),
        ([2, 8], 4, [2, 8]),
    ],
)
def test_the_cap_is_a_multiple_of_the_median(examples: list[int], cap: int, counted: list[int]) -> None:
    assert example_weights(examples, cap) == example_weights(counted, 0)


def test_blocks_meet_and_extremes_do_not_wrap() -> None:
    size = 2 * BLOCK_ELEMENTS + 3
    rows = [np.full(size, 32767, np.int16), np.full(size, -32767, np.int16)]
    weights = example_weights([2, 1], 0)
    merged = rule_sum(named_rule("mean"), rows, weights, 0)
    assert merged.denominator == WEIGHT_TOTAL
    assert set(merged.total.tolist()) == {32767 * (weights[0] - weights[1])}


def test_a_common_factor_of_the_weights_is_left_out_and_changes_no_bit() -> None:
    rows = [np.array([1, -1, 32767, 3], np.int16), np.array([0, 0, 32767, -4], np.int16)]
    merged = rule_sum(named_rule("mean"), rows, example_weights([3, 1], 0), 0)
    assert (merged.denominator, merged.total.tolist()) == (4, [3, -3, 4 * 32767, 5])
    weights = [3 << 28, 1 << 28]
    whole = [
        sum(w * int(q) for w, q in zip(weights, column, strict=True)) for column in zip(*rows, strict=True)
    ]
    for e, m in ((0, 0), (0, 14), (3, 0)):
        total = RuleSum(np.array(whole, np.int64), WEIGHT_TOTAL)
        short = RuleSum(merged.total.copy(), merged.denominator)
        assert model_units(short, e, m).tolist() == model_units(total, e, m).tolist()
