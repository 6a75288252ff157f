"""The geometric median by Weiszfeld's steps, each a few sums over the inner products."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

from p2pfed.aggregation.fixed import FACTOR_MAX, Products, shares
from p2pfed.aggregation.rule import COEFFICIENT_ONE, Context, Gram, Rule, Weighted, has_honest_majority

STEPS = 8
ONE = FACTOR_MAX  # Coefficients while they are iterated.


def lengths_from(products: Gram, exact: Products, coefficients: Sequence[int]) -> list[int]:
    """Return the distance of each row from the point `sum coefficients[j] * row_j / 2^30`, times 2^30,
    floored.

    `|2^30 x_i - v|^2 = 2^60 G_ii - 2^31 (G a)_i + a G a` for v = sum a_j x_j, exact, so never negative.
    """
    inner = exact.times(coefficients)
    square = sum(a * b for a, b in zip(coefficients, inner, strict=True))
    return [
        isqrt(ONE * ONE * products[row][row] - 2 * ONE * inner[row] + square) for row in range(len(inner))
    ]


def geometric_median(context: Context) -> Weighted:
    """Start at the mean; eight times, weigh each row by the inverse of its distance from the point so far.

    Bounds:
        A squared length is below `2^60 * 2^102`: Python integers. Inverses are `(longest << 30) div length`,
        at least 2^30; a length of 0 counts as 1. Their shares of 2^30 are exact to one part in 2^30.

    Breakdown:
        2f < n.

    Source:
        Pillutla et al. 2019, Algorithm 2 (arXiv:1912.13445); Weiszfeld 1937.
    """
    exact = Products(context.products)
    coefficients = shares([1] * context.count, ONE)
    for _ in range(STEPS):
        lengths = [max(1, length) for length in lengths_from(context.products, exact, coefficients)]
        longest = max(lengths) * ONE
        coefficients = shares([longest // length for length in lengths], ONE)
    return Weighted(shares(coefficients, COEFFICIENT_ONE), COEFFICIENT_ONE)


GEOMETRIC_MEDIAN = Rule("geometric_median", "2f < n", has_honest_majority, geometric_median)
