"""Turn a learner's floats into the integers that peers agree on, and back: floats end here."""

from __future__ import annotations

from collections.abc import Sequence
from math import frexp
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2pfed.errors import LocalError
from p2pfed.types.model import (
    Float32Vector,
    Group,
    Int8Vector,
    Int16Vector,
    Int32Vector,
    Manifest,
    ModelState,
)
from p2pfed.types.params import (
    COORDINATE_MAX,
    EXPONENT_GAP_MAX,
    MODEL_EXPONENT_MAX,
    MODEL_EXPONENT_MIN,
    UPDATE_EXPONENT_MAX,
    UPDATE_EXPONENT_MIN,
)

FloatVector = NDArray[np.floating[Any]]

BLOCK_ELEMENTS = 1 << 15  # What is quantised in one go stays in the cache.
WEIGHT_BITS = 28  # The largest weight of a group starts below 2^28, a bit below where re-exponenting begins.
WEIGHT_LIMIT = 1 << 29
ZERO_GROUP_GAP = 10  # m - e of a group that starts at zero: its weights will be of the size of its updates.


def quantise(delta: FloatVector, groups: Sequence[Group], update_exponents: Int8Vector) -> Int16Vector:
    """Return `saturate(rint(u * 2^e))` of a model difference, halves to even; int16, shape `(d,)`.

    Args:
        delta: What training added to the model, shape `(d,)`, float32 or wider.
        groups: The groups of the manifest.
        update_exponents: `e` of the height that was trained from, shape `(groups,)`.

    Raises:
        LocalError: A value is NaN or infinite: the training diverged.
    """
    _verify_finite(delta, "the update")
    result = np.empty(delta.shape, np.int16)
    scratch = np.empty(min(delta.size, BLOCK_ELEMENTS), delta.dtype)
    for group, exponent in zip(groups, update_exponents.tolist(), strict=True):
        # A power of two changes no digit, in float32 either: what overflows saturates, what underflows is 0.
        unit = delta.dtype.type(2.0**exponent)
        for start in range(group.start, group.stop, BLOCK_ELEMENTS):
            stop = min(start + BLOCK_ELEMENTS, group.stop)
            scaled = scratch[: stop - start]
            with np.errstate(over="ignore", under="ignore"):
                np.multiply(delta[start:stop], unit, out=scaled)
            np.rint(scaled, out=scaled)
            np.clip(scaled, -COORDINATE_MAX, COORDINATE_MAX, out=scaled)
            result[start:stop] = scaled
    return result


def dequantise(update: Int16Vector, groups: Sequence[Group], update_exponents: Int8Vector) -> Float32Vector:
    """Return `q * 2^-e` of an update, float32, shape `(d,)`: exact, int16 has fewer digits."""
    values = update.astype(np.float32)
    for group, exponent in zip(groups, update_exponents.tolist(), strict=True):
        np.ldexp(values[group.slice], -exponent, out=values[group.slice])
    return values


def model_view(model: ModelState, groups: Sequence[Group]) -> Float32Vector:
    """Return what a learner sees: `float32(W) * 2^-m`, rounded once, halves to even; float32, `(d,)`."""
    view = np.empty(model.weights.shape, np.float32)
    for group, exponent in zip(groups, model.model_exponents.tolist(), strict=True):
        # A power of two changes no digit: only the conversion to float32 rounds.
        unit = np.float32(2.0**-exponent)
        np.multiply(model.weights[group.slice], unit, out=view[group.slice], dtype=np.float32)
    return view


def encode_model(weights: FloatVector, groups: Sequence[Group], model_exponents: Int8Vector) -> Int32Vector:
    """Return `rint(w * 2^m)` of the first model's weights, halves to even; int32, shape `(d,)`, |W| < 2^29.

    Raises:
        LocalError: A weight is NaN, infinite, or too large for its exponent.
    """
    _verify_finite(weights, "the model")
    result = np.empty(weights.shape, np.int32)
    for group, exponent in zip(groups, model_exponents.tolist(), strict=True):
        scaled = np.rint(_scaled(weights[group.slice], exponent))
        largest = _largest(scaled)
        if largest >= WEIGHT_LIMIT:
            raise LocalError(
                f"a weight of {largest * 2.0**-exponent:g} is too large; scale the model below 2^28"
            )
        result[group.slice] = scaled
    return result


def initial_exponents(
    manifest: Manifest, weights: FloatVector, update: FloatVector, update_bits: int
) -> tuple[Int8Vector, Int8Vector]:
    """Return `(e, m)` of genesis, int8, shape `(groups,)` each, from the first weights and a trained update.

    `e = T - ceil(log2 max|u|)`, so that the largest element takes T bits; a group whose update is zero is
    treated as if `max|u| = 1` and adapts later. `m = min(30, 28 - ceil(log2 max|w|), e + 14)`, or
    `min(30, e + 10)` for a group of zeros.

    Raises:
        LocalError: A value is NaN or infinite.
    """
    _verify_finite(weights, "the model")
    _verify_finite(update, "the first update")
    update_exponents, model_exponents = [], []
    for group in manifest.groups:
        largest_update, largest_weight = _largest(update[group.slice]), _largest(weights[group.slice])
        e = update_bits - (_ceil_log2(largest_update) if largest_update else 0)
        e = max(UPDATE_EXPONENT_MIN, min(UPDATE_EXPONENT_MAX, e))
        if largest_weight:
            m = min(WEIGHT_BITS - _ceil_log2(largest_weight), e + EXPONENT_GAP_MAX)
        else:
            m = e + ZERO_GROUP_GAP
        update_exponents.append(e)
        model_exponents.append(max(MODEL_EXPONENT_MIN, min(MODEL_EXPONENT_MAX, m)))
    return np.array(update_exponents, np.int8), np.array(model_exponents, np.int8)


def _scaled(values: FloatVector, exponent: int) -> NDArray[np.float64]:
    """Return `values * 2^exponent`, exact but for overflow to infinity, which saturates or is refused."""
    with np.errstate(over="ignore"):
        result: NDArray[np.float64] = np.ldexp(values.astype(np.float64), exponent)
    return result


def _verify_finite(values: FloatVector, name: str) -> None:
    if not np.isfinite(values).all():
        raise LocalError(
            f"{name} has a value that is NaN or infinite; training diverged, try a smaller learning rate"
        )


def _largest(values: FloatVector) -> float:
    return float(np.abs(values).max())


def _ceil_log2(value: float) -> int:
    """Return `ceil(log2 value)` of a positive float, exactly: the logarithm itself would round."""
    fraction, exponent = frexp(value)  # value = fraction * 2^exponent with 0.5 <= fraction < 1.
    return exponent - 1 if fraction == 0.5 else exponent
