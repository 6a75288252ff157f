"""The aggregate of the height before, as a direction that today's updates can be compared with."""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from p2pfed.types.model import Int16Vector, Int32Vector
from p2pfed.types.params import COORDINATE_MAX


class Past(Struct, frozen=True, eq=False):
    """An aggregate and the model exponents of its units.

    aggregate: int32, shape `(d,)`, |a| < 2^29, in units 2^-m of each group.
    exponents: int8, one m a group.
    """

    aggregate: Int32Vector
    exponents: NDArray[np.int8]


def past_direction(past: Past, group: int, columns: slice, update_exponent: int) -> Int16Vector:
    """Return some columns of the aggregate in units 2^-e, rounded half up and saturated; int16.

    Bounds:
        `2^29 << min(e - m, 16)` is below 2^45; from 16 bits up every value but 0 saturates anyway.
    """
    wide = past.aggregate[columns].astype(np.int64)
    shift = update_exponent - int(past.exponents[group])
    if shift >= 0:
        wide <<= min(shift, 16)
    else:
        wide += 1 << (-shift - 1)
        wide >>= -shift
    return np.clip(wide, -COORDINATE_MAX, COORDINATE_MAX).astype(np.int16)
