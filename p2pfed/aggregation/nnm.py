"""Nearest-neighbour mixing: replace each row by the sum of the n - f rows nearest to it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from p2pfed.aggregation.fixed import distances, nearest
from p2pfed.aggregation.mixture import Mixture
from p2pfed.aggregation.prerule import PreRule, all_rows
from p2pfed.aggregation.rule import Gram


def nearest_neighbours(products: Gram, faulty_max: int) -> NDArray[np.int64]:
    """Return 1 for each row's `n - faulty_max` nearest rows, itself among them, else 0; shape `(n, n)`.

    Equal distances: the lower row first. An exact sum of squares is never negative.
    """
    n = len(products)
    matrix = np.zeros((n, n), np.int64)
    for row, between in enumerate(distances(products)):
        matrix[row, nearest(between, n - faulty_max)] = 1
    return matrix


def nnm(mixture: Mixture, faulty_max: int, _seed: bytes) -> Mixture:
    """Replace each row by the sum of its n - f nearest.

    Distances are those of rows scaled but not rounded, so one Gram matrix serves.

    Bounds:
        A distance is below `2^30 * 2^54`: Python integers. A sum of 2^9 values is below 2^24.

    Breakdown:
        2f < n; in front of a rule of constant kappa it is optimal where the honest differ.

    Source:
        Allouah et al. 2023, Algorithm 2 (arXiv:2302.01772).
    """
    return mixture.mixed(nearest_neighbours(mixture.products, faulty_max), mixture.count - faulty_max)


NNM = PreRule("nnm", 3, all_rows, nnm)
