"""Rows that trained from an older model: brought to today's exponent, and counted less the older they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from p2pfed.aggregation.mixture import FACTOR_BITS
from p2pfed.types.model import Int8Vector, Int16Vector, Manifest, ModelState
from p2pfed.types.params import COORDINATE_MAX

AGE_FACTORS = (32768, 23170, 18919, 16384, 14654)  # 2^15 / sqrt(1 + age), rounded to nearest.
AGE_MAX = len(AGE_FACTORS) - 1


def aligned(row: Int16Vector, shift: int) -> Int16Vector:
    """Return `row` in units of today's exponent, `shift = e now - e of its base`; saturates.

    Up: `q << shift`. Down: `(q + 2^(-shift - 1)) >> -shift`.

    Bounds:
        |shift| <= 38, the whole range of e; from 16 bits on every value but 0 saturates, or all become 0.
    """
    if shift == 0:
        return row
    wide = row.astype(np.int64)
    if shift > 0:
        wide <<= min(shift, 16)
    else:
        wide += 1 << (-shift - 1)
        wide >>= -shift
    return np.clip(wide, -COORDINATE_MAX, COORDINATE_MAX).astype(np.int16)


def shrunk(row: Int16Vector, age: int) -> Int16Vector:
    """Return `(q * w + 2^14) >> 15` with w = 2^15 / sqrt(1 + age); int16.

    Bounds:
        `32767 * 2^15` with its rounding: int32.

    Breakdown:
        None of its own. It comes before clipping; exponents adapt on aligned, unshrunk rows.

    Source:
        Xie et al. 2019, FedAsync, polynomial staleness with exponent 1/2 (arXiv:1903.03934).
    """
    assert 0 <= age <= AGE_MAX
    if age == 0:
        return row
    product = np.multiply(row, np.int32(AGE_FACTORS[age]), dtype=np.int32)
    product += 1 << (FACTOR_BITS - 1)
    product >>= FACTOR_BITS
    return product.astype(np.int16)


def prepared(
    manifest: Manifest, model: ModelState, rows: Sequence[Int16Vector], ages: Sequence[int]
) -> tuple[list[Int16Vector], list[Int16Vector]]:
    """Return the rows aligned, and these shrunk as well; a row of age 0 is not copied.

    Args:
        manifest: The groups that the rows consist of.
        model: The model before the height, with the exponents of those before it.
        rows: int16, shape `(d,)` each, in the units of the model that each trained from.
        ages: How many new models there were since that one, one a row, up to AGE_MAX.
    """
    straight, counted = list(rows), list(rows)
    for index, age in enumerate(ages):
        if age == 0:
            continue
        straight[index], counted[index] = np.empty_like(rows[index]), np.empty_like(rows[index])
        shifts = model.update_exponents.astype(np.int64) - model.exponents_of(age)
        for group, shift in zip(manifest.groups, shifts.tolist(), strict=True):
            straight[index][group.slice] = aligned(rows[index][group.slice], shift)
            counted[index][group.slice] = shrunk(straight[index][group.slice], age)
    return straight, counted


def past_exponents_after(model: ModelState) -> Int8Vector:
    """Return the older update exponents of the model after `model`: as many, the newest first."""
    kept = len(model.past_exponents)
    if not kept:
        return model.past_exponents.copy()
    return np.concatenate([model.update_exponents[np.newaxis], model.past_exponents[:-1]])
