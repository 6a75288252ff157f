"""How a false update is made of honest ones: pure functions on int16 vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from p2pfed.types.model import Int16Vector
from p2pfed.types.params import COORDINATE_MAX


def saturated(values: NDArray[np.float64]) -> Int16Vector:
    """Return `values` rounded to what an update can hold, int16 of the same shape."""
    result: Int16Vector = np.clip(np.rint(values), -COORDINATE_MAX, COORDINATE_MAX).astype(np.int16)
    return result


def sign_flip(own: Int16Vector, scale: float) -> Int16Vector:
    """Return `-scale` times the honest update."""
    return saturated(-scale * own.astype(np.float64))


def alie(honest: Sequence[Int16Vector], z: float) -> Int16Vector:
    """Return mean - z * standard deviation of the honest updates, per coordinate.

    Source: Baruch et al. 2019, "A Little Is Enough" (arXiv:1902.06156).
    """
    rows = np.stack([row.astype(np.float64) for row in honest])
    return saturated(rows.mean(axis=0) - z * rows.std(axis=0))


def noise(own: Int16Vector, scale: float, dice: np.random.Generator) -> Int16Vector:
    """Return Gaussian noise with `scale` times the root mean square of the honest update."""
    deviation = scale * float(np.sqrt(np.mean(own.astype(np.float64) ** 2)) + 1.0)
    return saturated(dice.normal(0.0, deviation, own.shape))


def huge(own: Int16Vector) -> Int16Vector:
    """Return the update of largest norm that can be encoded."""
    return np.full(own.shape, COORDINATE_MAX, np.int16)
