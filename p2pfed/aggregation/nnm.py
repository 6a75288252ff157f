"""Nearest-neighbour mixing: replace each row by the sum of the n - f rows nearest to it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from p2pfed.aggregation.gram import Gram, Mask


def nearest_neighbours(products: Gram, factors: Sequence[int], faulty_max: int) -> Mask:
    """Return the mask of each row's `n - faulty_max` nearest rows, itself among them; bool, shape `(n, n)`.

    Distances are those of the rows scaled by their clip factors, before rounding, so one Gram matrix serves:
    `|c_i x_i - c_j x_j|^2 = c_i^2 G_ii + c_j^2 G_jj - 2 c_i c_j G_ij`. Equal distances: the lower row first.

    Bounds:
        Below `2^30 * 2^54`: Python integers. An exact sum of squares is never negative.

    Source:
        Allouah et al. 2023, Algorithm 2 (arXiv:2302.01772).
    """
    n = len(products)
    mask = np.zeros((n, n), np.bool_)
    squares = [factors[row] * factors[row] * products[row][row] for row in range(n)]
    for row in range(n):
        factor, inner = 2 * factors[row], products[row]
        # squares[row] is common to all distances from this row and leaves their order alone.
        distances = [squares[other] - factor * factors[other] * inner[other] for other in range(n)]
        nearest = sorted(range(n), key=distances.__getitem__)  # Stable: ties keep row order.
        mask[row, nearest[: n - faulty_max]] = True
    return mask
