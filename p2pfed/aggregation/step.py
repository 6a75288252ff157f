"""The step of the model: add the aggregate to the weights of one group."""

from __future__ import annotations

import numpy as np

from p2pfed.aggregation.division import Int64Vector
from p2pfed.types.model import Int32Vector

WEIGHT_MAX = (1 << 31) - 1  # Symmetric, so that the sign of a weight can always be changed.


def stepped(weights: Int32Vector, aggregate: Int32Vector, nonnegative: bool) -> Int64Vector:
    """Return `weights + aggregate`, saturated to int32; int64, shape `(d_g,)`, model units.

    Args:
        nonnegative: The array is one like a variance: negative results become 0.
    """
    result = weights.astype(np.int64)
    result += aggregate
    np.clip(result, 0 if nonnegative else -WEIGHT_MAX, WEIGHT_MAX, out=result)
    return result
