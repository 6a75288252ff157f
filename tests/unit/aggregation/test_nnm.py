"""A row's neighbours are itself and those nearest to it; ties go to the lower row."""

from __future__ import annotations

import numpy as np

from p2pfed.aggregation.mixture import FACTOR_ONE, Mixture
from p2pfed.aggregation.nnm import nearest_neighbours, nnm


def neighbours(points: list[int], faulty_max: int, factors: list[int] | None = None) -> list[list[int]]:
    products = [[a * b for b in points] for a in points]
    mixture = Mixture(len(points), None, None, 1, products, None)
    if factors:
        mixture = mixture.scaled(factors)
    mask = nearest_neighbours(mixture.products, faulty_max)
    assert (nnm(mixture, faulty_max, b"").matrix == mask).all()
    return [np.flatnonzero(row).tolist() for row in mask]


def test_the_far_row_is_left_out() -> None:
    assert neighbours([0, 1, 2, 100], 1) == [[0, 1, 2], [0, 1, 2], [0, 1, 2], [1, 2, 3]]


def test_equal_distances_go_to_the_lower_row() -> None:
    assert neighbours([0, -5, 5], 1) == [[0, 1], [0, 1], [0, 2]]


def test_distances_are_those_of_the_clipped_rows() -> None:
    # Halved, 12 becomes 6 and is nearer to 4 than 1 is.
    assert neighbours([4, 1, 12], 1, [FACTOR_ONE, FACTOR_ONE, FACTOR_ONE // 2])[0] == [0, 2]
    assert neighbours([4, 1, 12], 1)[0] == [0, 1]


def test_without_liars_everyone_is_a_neighbour() -> None:
    assert neighbours([3, 1, 2], 0) == [[0, 1, 2]] * 3
