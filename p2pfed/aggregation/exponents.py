"""How the exponents of a group follow its updates and its weights."""

from __future__ import annotations

from collections.abc import Sequence

from p2pfed.aggregation.division import Int64Vector
from p2pfed.types.model import Int16Vector, Int32Vector
from p2pfed.types.params import (
    COORDINATE_MAX,
    EXPONENT_GAP_MAX,
    UPDATE_EXPONENT_MAX,
    UPDATE_EXPONENT_MIN,
)

WEIGHT_LIMIT = (
    1 << 29
)  # Weights from here on lose two bits: an aggregate below 2^29 then can't reach int32's end.
LOWER_MAX = 4  # e falls fast: large updates are saturating now.
RAISE_MAX = 2  # e rises slowly: one quiet height must not saturate the next.


def peak(row: Int16Vector) -> int:
    """Return `max |q|` of one row as a Python integer: `abs` of int16 could wrap."""
    lowest, highest = int(row.min()), int(row.max())
    assert lowest >= -COORDINATE_MAX
    return max(highest, -lowest)


def adapted_exponent(update_exponent: int, peaks: Sequence[int], faulty_max: int, update_bits: int) -> int:
    """Return the exponent e that the next updates of this group use.

    The yardstick L is the (k+1)-th largest peak with `k = max(f, (n-1) div 3)`: f liars alone can't raise it,
    and as many can't lower it below an honest row's. With f updates or fewer nothing can be trusted: e stays.

    Args:
        peaks: `max |q|` of each row.
        update_bits: How many bits L should have, `T`.
    """
    skipped = max(faulty_max, (len(peaks) - 1) // 3)
    if skipped >= len(peaks):
        return update_exponent
    yardstick = sorted(peaks, reverse=True)[skipped]
    bits = yardstick.bit_length()
    if not bits:
        return update_exponent
    if bits > update_bits + 1:
        update_exponent -= min(LOWER_MAX, bits - update_bits)
    elif bits < update_bits - 1:
        update_exponent += min(RAISE_MAX, update_bits - bits)
    return max(UPDATE_EXPONENT_MIN, min(UPDATE_EXPONENT_MAX, update_exponent))


def needs_re_exponent(weights: Int64Vector | Int32Vector, model_exponent: int, update_exponent: int) -> bool:
    """Answer whether a weight is too large, or m too far above e."""
    return model_exponent - update_exponent > EXPONENT_GAP_MAX or (
        model_exponent >= 2
        and weights.size > 0
        and max(int(weights.max()), -int(weights.min())) >= WEIGHT_LIMIT
    )


def re_exponent(weights: Int64Vector, model_exponent: int, update_exponent: int) -> int:
    """Lower m by two bits, in place, while a weight is too large or m is too far above e; return the new m.

    A weight becomes `(w + 2) >> 2`. Below m = 2 there is nothing left to give: weights grow on and saturate.
    """
    while needs_re_exponent(weights, model_exponent, update_exponent):
        weights += 2
        weights >>= 2
        model_exponent -= 2
    return model_exponent
