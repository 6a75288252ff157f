"""FoolsGold: whoever moves like somebody else counts less, so one liar gains nothing by being many."""

from __future__ import annotations

from math import isqrt

from p2pfed.aggregation.fixed import LOG_BITS, log2, shares
from p2pfed.aggregation.rule import COEFFICIENT_ONE, Context, Gram, Rule, Weighted

UNIT = 1 << 15
LN_2 = 45_426  # ln 2 in units of 2^-16.


def cosines(products: Gram) -> Gram:
    """Return `max(0, cos)` of all pairs of rows in units of 2^-15; 0 for a row of zeros and for a row
    itself.
    """
    n = len(products)
    result = [[0] * n for _ in range(n)]
    for row in range(n):
        for other in range(n):
            length = isqrt(products[row][row] * products[other][other])
            if other != row and length:
                result[row][other] = min(UNIT, max(0, products[row][other]) * UNIT // length)
    return result


def trust(similar: Gram) -> list[int] | None:
    """Return the weight of each row in units of 2^-15, from the cosines; None where nobody is left.

    A row that is less suspicious than its likeness is pardoned by the ratio of their largest cosines. What is
    left of 1 after the largest cosine is scaled to a largest of 0.99 and stretched by `ln(a / (1 - a)) +
    1/2`.
    """
    largest = [max(row) for row in similar]
    left = []
    for own, row in zip(largest, similar, strict=True):
        pardoned = [
            value * own // other if other > own else value for value, other in zip(row, largest, strict=True)
        ]
        left.append(UNIT - max(pardoned))
    top = max(left)
    if not top:
        return None
    return [_stretched(min(value * UNIT // top, UNIT * 99 // 100)) for value in left]


def _stretched(value: int) -> int:
    if not value:
        return 0
    odds = (log2(value) - log2(UNIT - value)) * LN_2 >> LOG_BITS + 1  # From 2^-32 to 2^-15.
    return max(0, min(UNIT, odds + UNIT // 2))


def foolsgold(context: Context) -> Weighted | None:
    """Weigh each row by how unlike it is to the others; decline where all are alike.

    The source compares sums over all heights, which a chain doesn't keep; this compares the updates of one.

    Bounds:
        Products of two products are below 2^204: Python integers.

    Breakdown:
        None against a liar that is alone: it only takes the gain out of many identities.

    Source:
        Fung et al. 2020, Algorithm 1 (arXiv:1808.04866).
    """
    if context.count == 1:
        return Weighted([1], 1)
    weights = trust(cosines(context.products))
    if weights is None or not any(weights):
        return None
    return Weighted(shares(weights, COEFFICIENT_ONE), COEFFICIENT_ONE)


FOOLSGOLD = Rule("foolsgold", "n >= 1", lambda updates, _faulty: updates > 0, foolsgold, may_decline=True)
