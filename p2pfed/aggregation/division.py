"""A rule's whole sum, and the one division that turns it into model units."""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from p2pfed.types.model import Int32Vector
from p2pfed.types.params import EXPONENT_GAP_MAX, MODEL_EXPONENT_MIN, UPDATE_EXPONENT_MAX

Int64Vector = NDArray[np.int64]
Sums = NDArray[np.int64] | NDArray[np.int32]

DENOMINATOR_MAX = (
    1 << 30
)  # The mean's; times 2^30 for the widest m < e it still halves and adds within int64.


class RuleSum(Struct, frozen=True, eq=False):
    """What a rule returns for one group: the average is `total / denominator`, in update units.

    total: int64, or int32 where `fits_int32`; shape `(d_g,)`, |total| <= 32767 * denominator. `model_units`
        overwrites it.
    """

    total: Sums
    denominator: int


def fits_int32(denominator: int, update_exponent: int, model_exponent: int) -> bool:
    """Answer whether int32 can hold a rule's sum through its whole division.

    Bounds:
        With `den * 2^|m-e| <= 65536` a shifted sum is at most `32767 * 65536`, and half of den at most 32768:
        together less than 2^31. For m < e the denominator grows instead, to at most 65536.
    """
    return denominator << abs(model_exponent - update_exponent) <= 1 << 16


def model_units(
    rule_sum: RuleSum, update_exponent: int, model_exponent: int, out: Int32Vector | None = None
) -> Int32Vector:
    """Return the average in model units 2^-m, rounded half up: `floor((S * 2^(m-e) + den div 2) / den)`.

    Rounding to update units first would lose what is smaller than 2^-e and let every weight drift. Powers of
    two that the denominator shares with 2^(m-e) are left out: the quotient and its rounding stay the same.

    Args:
        out: Where to write it, int32, shape `(d_g,)`; None for an array of its own.

    Bounds:
        `|S| < 2^15 * den` and `den <= 2^30`. For `m >= e` the sum grows to less than `2^(45+14)`; for `m < e`
        the denominator grows to at most `2^60`. Both fit int64; the quotient is below `2^15 * 2^14 = 2^29`.
    """
    gap, denominator, total = model_exponent - update_exponent, rule_sum.denominator, rule_sum.total
    assert MODEL_EXPONENT_MIN - UPDATE_EXPONENT_MAX <= gap <= EXPONENT_GAP_MAX
    assert 0 < denominator <= DENOMINATOR_MAX
    out = np.empty(total.shape, np.int32) if out is None else out
    if gap >= 0:
        shared = min(1 << gap, denominator & -denominator)
        denominator //= shared
        if shared < 1 << gap:
            total *= (1 << gap) // shared
    else:
        denominator <<= -gap
    if denominator == 1:
        out[:] = total
        return out
    total += denominator >> 1
    if denominator & (denominator - 1):
        np.floor_divide(total, denominator, out=out, casting="same_kind")
    else:  # The same, several times faster.
        np.right_shift(total, denominator.bit_length() - 1, out=out, casting="same_kind")
    return out
