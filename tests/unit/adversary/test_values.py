"""How false updates are made: pure functions that say what they do to the last integer."""

from __future__ import annotations

import numpy as np
import pytest

from p2pfed.adversary import values
from p2pfed.types.model import Int16Vector
from p2pfed.types.params import COORDINATE_MAX


def vector(*elements: int) -> Int16Vector:
    return np.array(elements, np.int16)


def test_a_sign_flip_is_the_honest_update_times_minus_scale() -> None:
    assert values.sign_flip(vector(0, 3, -5, 100), 4.0).tolist() == [0, -12, 20, -400]


def test_what_is_too_large_saturates_and_never_reaches_the_forbidden_value() -> None:
    flipped = values.sign_flip(vector(30_000, -30_000), 4.0)
    assert flipped.tolist() == [-COORDINATE_MAX, COORDINATE_MAX]
    assert flipped.dtype == np.int16


def test_halves_are_rounded_and_not_cut() -> None:
    assert values.saturated(np.array([0.6, -0.6, 1.4, 2.5, 3.5])).tolist() == [1, -1, 1, 2, 4]


def test_alie_is_the_mean_minus_z_deviations_of_each_coordinate() -> None:
    rows = [vector(0, 10), vector(10, 10), vector(20, 10)]
    deviation = np.sqrt(200 / 3)
    assert values.alie(rows, 1.5).tolist() == [round(10 - 1.5 * deviation), 10]
    assert values.alie(rows, -1.5).tolist() == [round(10 + 1.5 * deviation), 10]


def test_alie_does_not_overflow_where_the_honest_are_large() -> None:
    rows = [vector(32_000), vector(32_000), vector(-32_000)]
    assert values.alie(rows, 0.0).tolist() == [round(32_000 / 3)]


def test_noise_is_as_large_as_scale_says_and_repeats_with_its_dice() -> None:
    own = np.full(20_000, 100, np.int16)
    first = values.noise(own, 10.0, np.random.default_rng(1))
    again = values.noise(own, 10.0, np.random.default_rng(1))
    assert (first == again).all()
    assert first.std() == pytest.approx(1_010, rel=0.05)
    assert abs(first.mean()) < 30


def test_noise_of_an_update_of_zeros_is_still_noise() -> None:
    assert values.noise(np.zeros(1_000, np.int16), 10.0, np.random.default_rng(1)).any()


def test_the_largest_update_is_the_largest_that_can_be_encoded() -> None:
    assert values.huge(vector(1, -2, 3)).tolist() == [COORDINATE_MAX] * 3
