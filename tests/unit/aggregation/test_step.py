"""The model moves by the aggregate and stops at the ends of its integers."""

from __future__ import annotations

import numpy as np

from p2pfed.aggregation.step import stepped


def test_weights_saturate_at_both_ends() -> None:
    weights, aggregate = np.array([2**31 - 2, 2 - 2**31, 5], np.int32), np.array([9, -9, -7], np.int32)
    assert stepped(weights, aggregate, False).tolist() == [2**31 - 1, 1 - 2**31, -2]


def test_a_variance_never_falls_below_zero() -> None:
    weights, aggregate = np.array([5, 5], np.int32), np.array([-7, 1], np.int32)
    assert stepped(weights, aggregate, True).tolist() == [0, 6]


def test_the_weights_before_are_untouched() -> None:
    weights = np.array([5], np.int32)
    stepped(weights, np.array([1], np.int32), False)
    assert weights.tolist() == [5]
