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


def model_units(rule_sum: RuleSum, update_exponent: int, model_exponent: int) -> Int32Vector:
    """Return the average in model units 2^-m, rounded half up: `floor((S * 2^(m-e) + den div 2) / den)`.

    Rounding to update units first would lose what is smaller than 2^-e and let every weight drift.

    Bounds:
        `|S| < 2^15 * den` and `den <= 2^30`. For `m >= e` the sum grows to less than `2^(45+14)`; for `m < e`
        the denominator grows to at most `2^60`. Both fit int64; the quotient is below `2^15 * 2^14 = 2^29`.
    """
    gap, denominator, total = model_exponent - update_exponent, rule_sum.denominator, rule_sum.total
    assert MODEL_EXPONENT_MIN - UPDATE_EXPONENT_MAX <= gap <= EXPONENT_GAP_MAX
    assert 0 < denominator <= DENOMINATOR_MAX
    if gap >= 0:
        total *= 1 << gap
    else:
        denominator <<= -gap
    total += denominator >> 1
    if denominator & (denominator - 1):
        total //= denominator
    else:
        total >>= denominator.bit_length() - 1  # The same, several times faster.
    return total.astype(np.int32, copy=False)
