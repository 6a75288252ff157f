"""MoNNA: average the rows nearest to a pivot."""

from __future__ import annotations

from p2pfed.aggregation.fixed import distances, nearest
from p2pfed.aggregation.krum import average_of
from p2pfed.aggregation.rule import Context, Rule, Weighted, has_honest_majority


def pivot_row(between: list[list[int]], kept: int) -> int:
    """Return the centre of the smallest ball around a row that holds `kept` rows; of equals the first."""
    radii = [sorted(row)[kept - 1] for row in between]
    return radii.index(min(radii))


def monna(context: Context) -> Weighted:
    """Average the n - f rows nearest to the pivot, itself among them; of equals the first.

    In the source each peer's pivot is its own row, which it trusts. All peers must agree here, so the pivot
    is the row whose ball around n - f rows is smallest: it has an honest row within that radius.

    Bounds:
        Squared distances as in Krum: Python integers.

    Breakdown:
        2f < n.

    Source:
        Farhadkhani et al. 2023, Robust Collaborative Learning with Linear Gradient Overhead
        (arXiv:2209.10931).
    """
    between, kept = distances(context.products), context.count - context.faulty_max
    return average_of(nearest(between[pivot_row(between, kept)], kept), context.count)


MONNA = Rule("monna", "2f < n", has_honest_majority, monna)
