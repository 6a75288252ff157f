"""The step of the model: add the aggregate to the weights of one group, with momentum where asked for."""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from p2pfed.aggregation.division import Int64Vector
from p2pfed.types.model import Int32Vector
from p2pfed.types.params import OUTER_ONE

WEIGHT_MAX = (1 << 31) - 1  # Symmetric, so that the sign of a weight can always be changed.
_BITS = OUTER_ONE.bit_length() - 1


class OuterStep(Struct, frozen=True):
    """Nesterov's momentum over heights, in units of 2^-16; as it stands: the aggregate is just added.

    momentum: How much of the velocity lives on, below OUTER_ONE.
    rate: How much of a step is taken.
    """

    momentum: int = 0
    rate: int = OUTER_ONE


def stepped(
    weights: Int32Vector,
    velocity: Int32Vector,
    aggregate: Int32Vector,
    outer: OuterStep,
    *,
    nonnegative: bool = False,
) -> tuple[Int64Vector, Int64Vector]:
    """Return the weights and the velocity after a step, saturated to int32; int64, in model units.

    Args:
        weights: int32, shape `(d_g,)`.
        velocity: The same; where there is no momentum it may be empty and stays so.
        aggregate: The same, below 2^29.
        outer: Of genesis; groups that are statistics have none.
        nonnegative: The array is one like a variance: negative results become 0.

    Bounds:
        mu V < 2^16 * 2^31; a 2^16 + mu V + 2^15 < 2^48; st < 2^32; lr st <= 2^20 * 2^32. All in int64.

    Source:
        Nesterov 1983, as the outer optimiser of Douillard et al. 2023, DiLoCo (arXiv:2311.08105).
    """
    change = aggregate.astype(np.int64)
    moved = velocity.astype(np.int64)
    if outer.momentum:
        moved *= outer.momentum
        moved += np.where(moved < 0, OUTER_ONE - 1, 0)  # So that the shift rounds towards zero.
        moved >>= _BITS
        moved += change
        np.clip(moved, -WEIGHT_MAX, WEIGHT_MAX, out=moved)
        change = ((change << _BITS) + moved * outer.momentum + (OUTER_ONE >> 1)) >> _BITS
    if outer.rate != OUTER_ONE:
        change = (change * outer.rate + (OUTER_ONE >> 1)) >> _BITS
    change += weights
    np.clip(change, 0 if nonnegative else -WEIGHT_MAX, WEIGHT_MAX, out=change)
    return change, moved
