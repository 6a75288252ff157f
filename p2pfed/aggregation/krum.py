"""Krum and Multi-Krum: trust the rows that have the most others close by."""

from __future__ import annotations

from p2pfed.aggregation.fixed import distances
from p2pfed.aggregation.rule import Context, Gram, Rule, Weighted, has_honest_majority


def krum_scores(between: Gram, faulty_max: int) -> list[int]:
    """Return each row's sum of squared distances to the n - f rows nearest to it, itself among them."""
    count = len(between) - faulty_max
    return [sum(sorted(row)[:count]) for row in between]


def krum(context: Context) -> Weighted:
    """Take the row with the lowest score; of equals the first.

    Blanchard et al. sum over n - f - 2 others and need 2f + 2 < n; this is the later definition, over the
    n - f nearest with the row itself, which is sound for any honest majority.

    Bounds:
        A squared distance is below 2^54 (2^84 clipped, 2^102 mixed as well): Python integers.

    Breakdown:
        2f < n; kappa = 6 (1 + f / (n - 2f)), so it doesn't shrink with f.

    Source:
        Blanchard et al. 2017 (NeurIPS); Allouah et al. 2023 (arXiv:2302.01772).
    """
    scores = krum_scores(distances(context.products), context.faulty_max)
    return average_of([scores.index(min(scores))], context.count)


def multi_krum(context: Context) -> Weighted:
    """Average the n - f rows with the lowest scores of Krum; of equals the first.

    Breakdown and source:
        As Krum.
    """
    scores = krum_scores(distances(context.products), context.faulty_max)
    kept = context.count - context.faulty_max
    return average_of(sorted(range(context.count), key=scores.__getitem__)[:kept], context.count)


def average_of(rows: list[int], count: int) -> Weighted:
    """Return the plan of the mean of some of `count` rows."""
    coefficients = [0] * count
    for row in rows:
        coefficients[row] = 1
    return Weighted(coefficients, len(rows))


KRUM = Rule("krum", "2f < n", has_honest_majority, krum)
MULTI_KRUM = Rule("multi_krum", "2f < n", has_honest_majority, multi_krum)
