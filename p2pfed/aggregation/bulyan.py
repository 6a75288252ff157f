"""Bulyan: choose rows with Krum one by one, then keep of each coordinate the values nearest to the median."""

from __future__ import annotations

from p2pfed.aggregation.fixed import distances
from p2pfed.aggregation.meamed import NearestToMedian
from p2pfed.aggregation.rule import Blockwise, Context, Gram, Rule


def chosen_rows(between: Gram, faulty_max: int) -> list[int]:
    """Return the n - 2f rows that Krum picks, each from those that are left; ascending."""
    n = len(between)
    order = [sorted(range(n), key=row.__getitem__) for row in between]
    is_left = [True] * n
    chosen = []
    for left in range(n, 2 * faulty_max, -1):
        best, winner = -1, -1
        for row in range(n):
            if is_left[row]:
                score = _score(between[row], order[row], is_left, left - faulty_max)
                if winner < 0 or score < best:
                    best, winner = score, row
        is_left[winner] = False
        chosen.append(winner)
    return sorted(chosen)


def _score(between: list[int], order: list[int], is_left: list[bool], count: int) -> int:
    """Return the sum of the `count` smallest distances to rows that are left."""
    total = 0
    for other in order:
        if is_left[other]:
            total += between[other]
            count -= 1
            if not count:
                break
    return total


def bulyan(context: Context) -> Blockwise:
    """Of the n - 2f chosen rows, average the n - 4f values nearest to the median of each coordinate.

    Bounds:
        As Krum and the mean around the median.

    Breakdown:
        n >= 4f + 3. No coordinate can hide behind a large dimension, as it can from Krum.

    Source:
        El Mhamdi et al. 2018, section 4 (arXiv:1802.07927).
    """
    n, faulty_max = context.count, context.faulty_max
    rows = chosen_rows(distances(context.products), faulty_max)
    return Blockwise(NearestToMedian(n - 2 * faulty_max, 2 * faulty_max), n - 4 * faulty_max, rows)


BULYAN = Rule(
    "bulyan", "4f + 3 <= n", lambda updates, faulty: updates >= 4 * faulty + 3, bulyan, by_coordinate=True
)
