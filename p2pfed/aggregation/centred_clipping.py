"""Centred clipping: walk from zero towards the rows, none of which can pull farther than the median one."""

from __future__ import annotations

from p2pfed.aggregation.fixed import FACTOR_MAX, Products, shares
from p2pfed.aggregation.geometric_median import lengths_from
from p2pfed.aggregation.rule import COEFFICIENT_ONE, Context, Rule, Weighted, has_honest_majority

STEPS = 3
ONE = FACTOR_MAX


def centred_clipping(context: Context) -> Weighted:
    """Three times, `v += mean of (x_i - v) * min(1, t / |x_i - v|)`, from v = 0; t is the median length.

    The source starts at the aggregate before and needs a radius that fits the gradients. Starting at zero
    needs no history that an attacker could have shaped (arXiv:2208.09894), and the median of the lengths is
    at most an honest one's, since 2f < n.

    Bounds:
        Lengths as in the geometric median. Coefficients stay at least 0 and sum to at most 2^30: v is within
        the hull of the rows and zero.

    Breakdown:
        2f < n.

    Source:
        Karimireddy et al. 2021, Algorithm 2 (arXiv:2012.10333).
    """
    n = context.count
    exact = Products(context.products)
    coefficients = [0] * n
    for _ in range(STEPS):
        lengths = lengths_from(context.products, exact, coefficients)
        radius = sorted(lengths)[n // 2]
        pulls = [ONE if length <= radius else radius * ONE // length for length in lengths]
        kept = n * ONE - sum(pulls)
        coefficients = [
            (coefficient * kept + pull * ONE) // (n * ONE)
            for coefficient, pull in zip(coefficients, pulls, strict=True)
        ]
    total = sum(coefficients)
    return Weighted(shares(coefficients, total * COEFFICIENT_ONE // ONE), COEFFICIENT_ONE)


CENTRED_CLIPPING = Rule("centred_clipping", "2f < n", has_honest_majority, centred_clipping)
