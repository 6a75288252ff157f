"""Min-Max and Min-Sum: as far against the deviation as distances among the honest allow."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from p2pfed.adversary.attacks.attack import Attack, FloatMatrix, FloatVector, Sight, saturated
from p2pfed.types.model import Int16Vector


class _Between(Attack):
    """Sends `mean - gamma * deviation`, in each group with the largest gamma that its bound allows."""

    waits: ClassVar[bool] = True
    is_joint: ClassVar[bool] = True

    def craft(self, sight: Sight) -> Int16Vector:
        rows = sight.rows()
        made = rows.mean(axis=0)
        for group in sight.groups:
            part = rows[:, group.slice]
            deviation = part.std(axis=0)
            if deviation.any():
                made[group.slice] -= self.gamma(part, deviation) * deviation
        return saturated(made)

    def gamma(self, rows: FloatMatrix, deviation: FloatVector) -> float:
        """Return the largest factor for the deviation of these rows of one group."""
        raise NotImplementedError


class MinMax(_Between):
    """No honest update is farther from it than the two of them that are farthest apart.

    `max_i |x - x_i|^2 <= D = max_ij |x_i - x_j|^2`: with p = -deviation and a_i = mean - x_i, gamma is the
    least over i of the larger root of `|p|^2 g^2 + 2 p a_i g + |a_i|^2 = D`.

    Source:
        Shejwalkar and Houmansadr 2021, "Manipulating the Byzantine" (NDSS), section IV.C; there by bisection.
    """

    kind = "min_max"

    def gamma(self, rows: FloatMatrix, deviation: FloatVector) -> float:
        largest = _squared_distances(rows).max()
        off = rows.mean(axis=0) - rows
        square, along = float(deviation @ deviation), -(off @ deviation)
        room = largest - np.einsum("ij,ij->i", off, off)
        return float(np.min((-along + np.sqrt(np.maximum(along * along + square * room, 0.0))) / square))


class MinSum(_Between):
    """Its squared distances to the honest sum to no more than those of the one that is worst off.

    `sum_i |x - x_i|^2 <= D = max_i sum_j |x_i - x_j|^2`: gamma = sqrt((D - S) / (h |p|^2)) with S the sum of
    the squared distances from the mean to the h honest updates, for these differences sum to zero.

    Source:
        Shejwalkar and Houmansadr 2021, "Manipulating the Byzantine" (NDSS), section IV.C; there by bisection.
    """

    kind = "min_sum"

    def gamma(self, rows: FloatMatrix, deviation: FloatVector) -> float:
        largest = _squared_distances(rows).sum(axis=1).max()
        off = rows - rows.mean(axis=0)
        room = max(0.0, float(largest - np.sum(off * off)))
        return float(np.sqrt(room / (len(rows) * float(deviation @ deviation))))


def _squared_distances(rows: FloatMatrix) -> FloatMatrix:
    products = rows @ rows.T
    squares = np.diag(products)
    return np.maximum(squares[:, None] + squares[None, :] - 2 * products, 0.0)
