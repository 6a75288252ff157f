"""Cosine to the aggregate before: trust whoever keeps the direction, as FLTrust does with data of its own."""

from __future__ import annotations

from math import isqrt

from p2pfed.aggregation.rule import COEFFICIENT_ONE, Context, Rule, Weighted, has_honest_majority

UNIT = 1 << 30


def cosine_to_previous(context: Context) -> Weighted | None:
    """Weigh each row by `max(0, cos)` to the aggregate before, and cut it to the median length.

    FLTrust cuts to the length of its own trusted update. The aggregate before is no measure of length: steps
    would only ever get shorter. Declines where no row keeps the direction, which is so where there is none.

    Args:
        context: `past` has the inner product of each row, and of the aggregate with itself as its last item.

    Bounds:
        Cosines are at most 2^30, cut lengths at most 2^30: coefficients are shares of 2^21, rounded down.

    Breakdown:
        2f < n, and only while the aggregate before was honest: it carries trust on, it does not create it.

    Source:
        Cao et al. 2021, FLTrust (arXiv:2012.13995), with the aggregate in place of a root data set.
    """
    assert context.past is not None
    *inner, past_square = context.past
    squares = [context.products[row][row] for row in range(context.count)]
    lengths = [isqrt(square) for square in squares]
    median = sorted(lengths)[context.count // 2]
    cosines, cuts = [], []
    for value, square, length in zip(inner, squares, lengths, strict=True):
        both = isqrt(square * past_square)
        cosines.append(min(UNIT, max(0, value) * UNIT // both) if both else 0)
        cuts.append(UNIT if length <= median else median * UNIT // length)
    whole = sum(cosines)
    if not whole:
        return None
    coefficients = [
        cosine * cut * COEFFICIENT_ONE // (whole * UNIT) for cosine, cut in zip(cosines, cuts, strict=True)
    ]
    return Weighted(coefficients, COEFFICIENT_ONE)


COSINE_TO_PREVIOUS = Rule(
    "cosine_to_previous",
    "2f < n and the aggregate of the height before",
    has_honest_majority,
    cosine_to_previous,
    uses_past=True,
    may_decline=True,
)
