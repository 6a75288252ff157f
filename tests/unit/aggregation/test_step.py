"""The model moves by the aggregate, with momentum or without, and stops at the ends of its integers."""

from __future__ import annotations

from fractions import Fraction
from math import floor, trunc

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pfed.aggregation.engine import STILL
from p2pfed.aggregation.step import WEIGHT_MAX, OuterStep, stepped
from p2pfed.types.params import OUTER_ONE, OUTER_RATE_MAX

NONE = np.empty(0, np.int32)


def moved(weights: list[int], aggregate: list[int], *, nonnegative: bool = False) -> list[int]:
    after, velocity = stepped(
        np.array(weights, np.int32), NONE, np.array(aggregate, np.int32), STILL, nonnegative=nonnegative
    )
    assert velocity.size == 0
    return after.tolist()


def test_weights_saturate_at_both_ends() -> None:
    assert moved([2**31 - 2, 2 - 2**31, 5], [9, -9, -7]) == [2**31 - 1, 1 - 2**31, -2]


def test_a_variance_never_falls_below_zero() -> None:
    assert moved([5, 5], [-7, 1], nonnegative=True) == [0, 6]


def test_the_weights_before_are_untouched() -> None:
    weights, velocity = np.array([5], np.int32), np.array([7], np.int32)
    stepped(weights, velocity, np.array([1], np.int32), OuterStep(58982, 19661))
    assert (weights.tolist(), velocity.tolist()) == ([5], [7])


def test_momentum_goes_on_after_the_aggregates_have_stopped() -> None:
    weights, velocity, seen = np.array([0], np.int32), np.array([0], np.int32), []
    for aggregate in (1000, 0, 0, 0):
        wide = stepped(
            weights, velocity, np.array([aggregate], np.int32), OuterStep(OUTER_ONE // 2, OUTER_ONE)
        )
        weights, velocity = (part.astype(np.int32) for part in wide)
        seen.append((weights[0], velocity[0]))
    assert seen == [(1500, 1000), (1750, 500), (1875, 250), (1938, 125)]


def test_velocity_fades_towards_zero_from_both_sides_and_the_rate_is_of_the_whole_step() -> None:
    zero = np.zeros(4, np.int32)
    velocity = np.array([3, -3, -2, -1], np.int32)
    _, faded = stepped(zero, velocity, zero, OuterStep(OUTER_ONE // 2, OUTER_ONE))
    assert faded.tolist() == [1, -1, -1, 0]
    ends = np.array([WEIGHT_MAX, -WEIGHT_MAX], np.int32)
    push = np.array([2**29 - 1, 1 - 2**29], np.int32)
    _, full = stepped(ends, ends, push, OuterStep(OUTER_ONE - 1, OUTER_ONE))
    assert full.tolist() == ends.tolist()  # It stops at the ends of int32, as weights do.
    aggregate = np.array([1000, -1000, 3, -3], np.int32)
    halved, _ = stepped(zero, NONE, aggregate, OuterStep(0, OUTER_ONE // 2))
    assert halved.tolist() == [500, -500, 2, -1]  # Half up.


int32 = st.integers(-WEIGHT_MAX, WEIGHT_MAX)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    rows=st.lists(st.tuples(int32, int32, st.integers(1 - 2**29, 2**29 - 1)), min_size=1, max_size=8),
    momentum=st.integers(1, OUTER_ONE - 1),
    rate=st.integers(1, OUTER_RATE_MAX),
    nonnegative=st.booleans(),
)
def test_the_outer_step_is_its_formula_in_fractions(
    rows: list[tuple[int, int, int]], momentum: int, rate: int, nonnegative: bool
) -> None:
    columns = [np.array(column, np.int32) for column in zip(*rows, strict=True)]
    after, velocity = stepped(*columns, OuterStep(momentum, rate), nonnegative=nonnegative)
    for index, (w, v, a) in enumerate(rows):
        speed = trunc(Fraction(momentum * v, 2**16)) + a
        speed = max(-WEIGHT_MAX, min(WEIGHT_MAX, speed))
        taken = floor(Fraction(a * 2**16 + momentum * speed, 2**16) + Fraction(1, 2))
        w += floor(Fraction(rate * taken, 2**16) + Fraction(1, 2))
        low = 0 if nonnegative else -WEIGHT_MAX
        assert velocity[index] == speed
        assert after[index] == max(low, min(WEIGHT_MAX, w))
