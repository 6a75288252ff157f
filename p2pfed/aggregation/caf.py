"""CAF: weigh down whoever causes the largest variance, until what is left varies least."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from p2pfed.aggregation.fixed import Products, shares
from p2pfed.aggregation.rule import COEFFICIENT_ONE, Context, Gram, Rule, Weighted
from p2pfed.aggregation.spectrum import ENTRY_BITS, SQUARINGS, Matrices, narrowed, normalised

UPDATES_CAF_MAX = 128  # A pass costs n^3 and there are up to n passes.
WEIGHT_BITS = 20
WEIGHT_ONE = 1 << WEIGHT_BITS
SCORE_BITS = 64


def centred_at(products: Gram, exact: Products, weights: Sequence[int]) -> Gram:
    """Return W^2 times the inner products of the rows less their weighted mean, W the sum of the weights."""
    whole = sum(weights)
    inner = exact.times(weights)
    square = sum(weight * value for weight, value in zip(weights, inner, strict=True))
    return [
        [
            whole * whole * value - whole * (own + other) + square
            for value, other in zip(row, inner, strict=True)
        ]
        for row, own in zip(products, inner, strict=True)
    ]


def top_power(products: Matrices, weights: Matrices) -> Matrices:
    """Return `S (D S)^255`, narrowed: its diagonal has the squared projections on the direction of most
    variance.

    Args:
        products: S, centred inner products of at most 22 bits, shape `(n, n)`.
        weights: The diagonal of D, at most 2^20, shape `(n,)`.

    Bounds:
        22 + 20 bits for a weighted entry; it goes back to 22, and a sum of 2^7 products of two is below 2^51.
    """
    power = products
    for _ in range(SQUARINGS):
        power = normalised(((power * weights) >> WEIGHT_BITS) @ power)
    return power


def caf(context: Context) -> Weighted:
    """Return the weighted mean whose covariance had the smallest largest eigenvalue on the way.

    Weights start at 1. While they sum to more than n - 2f: find the direction of most variance around their
    mean, and multiply each by `1 - t / max t`, with t the row's squared projection on it.

    Bounds:
        Centred products are Python integers, narrowed to 22 bits for the powers. Each pass brings at least
        one weight to 0, so there are at most n.

    Breakdown:
        2f < n, and n <= 128 for the sake of time.

    Source:
        Allouah et al. 2025, covariance-bound agnostic filter (arXiv:2505.01874).
    """
    n = context.count
    exact = Products(context.products)
    weights = [WEIGHT_ONE] * n
    best, chosen = -1, weights
    while sum(weights) > (n - 2 * context.faulty_max) * WEIGHT_ONE:
        products, shift = narrowed(centred_at(context.products, exact, weights), ENTRY_BITS)
        factors = np.array(weights, np.int64)
        power = top_power(products, factors)
        score = _eigenvalue(products, power, factors, shift, sum(weights))
        if best < 0 or score < best:
            best, chosen = score, weights
        projections = [max(0, value) for value in power.diagonal().tolist()]
        largest = max(value for value, weight in zip(projections, weights, strict=True) if weight)
        if not largest:
            break  # Nothing varies.
        weights = [
            weight * max(0, largest - value) // largest
            for value, weight in zip(projections, weights, strict=True)
        ]
    return Weighted(shares(chosen, COEFFICIENT_ONE), COEFFICIENT_ONE)


def _eigenvalue(products: Matrices, power: Matrices, weights: Matrices, shift: int, whole: int) -> int:
    """Return the covariance's eigenvalue along the direction, in one unit for all weights; all 22-bit
    factors.
    """
    left = (power * weights[:, None]) >> WEIGHT_BITS
    right = (products * weights) >> WEIGHT_BITS
    trace = int(left.trace())
    value = int((left * right).sum())
    return (value << (shift + SCORE_BITS)) // (trace * whole**3) if trace > 0 and value > 0 else 0


CAF = Rule(
    "caf",
    "2f < n <= 128",
    lambda updates, faulty: 2 * faulty < updates <= UPDATES_CAF_MAX,
    caf,
)
