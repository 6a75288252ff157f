"""Minimum-diameter averaging: the n - f rows that are nearest together, found as a vertex cover."""

from __future__ import annotations

from p2pfed.aggregation.fixed import distances
from p2pfed.aggregation.krum import average_of
from p2pfed.aggregation.rule import Context, Gram, Rule, Weighted, has_honest_majority

STEPS_MAX = 1 << 15  # About a tenth of a second of branching; random rows need a few hundred steps.


class _OutOfSteps(Exception):
    """The search took more steps than its budget."""


class _Search:
    """Decides whether few rows cover all pairs that are too far apart; counts its steps."""

    def __init__(self) -> None:
        self._steps = 0

    def has_cover(self, far: list[int], alive: int, budget: int) -> bool:
        """Answer whether at most `budget` rows of the bit set `alive` touch every far pair within it.

        A row with the most far partners is either in the cover, or all its partners are.
        """
        self._steps += 1
        if self._steps > STEPS_MAX:
            raise _OutOfSteps
        pairs, most, widest = 0, 0, -1
        rest = alive
        while rest:
            row = (rest & -rest).bit_length() - 1
            rest &= rest - 1
            degree = (far[row] & alive).bit_count()
            pairs += degree
            if degree > most:
                most, widest = degree, row
        if not most:
            return True
        if (
            pairs > 2 * most * budget
        ):  # Each covered row removes at most `most` pairs; each was counted twice.
            return False
        if self.has_cover(far, alive & ~(1 << widest), budget - 1):
            return True
        return most <= budget and self.has_cover(far, alive & ~far[widest], budget - most)


def closest_rows(between: Gram, faulty_max: int) -> list[int] | None:
    """Return the n - f rows of least diameter, the first in lexical order among equals; None: out of
    steps.
    """
    n, search = len(between), _Search()
    everyone = (1 << n) - 1
    diameters = sorted({0, *(value for row in between for value in row)})
    try:
        low, high = 0, len(diameters) - 1
        while low < high:
            middle = (low + high) // 2
            if search.has_cover(_far(between, diameters[middle]), everyone, faulty_max):
                high = middle
            else:
                low = middle + 1
        far = _far(between, diameters[low])
        kept: list[int] = []
        alive, budget = everyone, faulty_max
        for row in range(n):
            # Keep the row if all those too far from it can be left out, with the budget that remains.
            if not alive >> row & 1 or len(kept) == n - faulty_max:
                continue
            without = alive & ~far[row]
            cost = (alive & far[row]).bit_count()
            if cost <= budget and search.has_cover(far, without, budget - cost):
                kept.append(row)
                alive, budget = without, budget - cost
            else:
                alive, budget = alive & ~(1 << row), budget - 1
    except _OutOfSteps:
        return None
    return kept


def _far(between: Gram, diameter: int) -> list[int]:
    """Return, as bit sets, which rows are farther than `diameter` from each row."""
    return [sum(1 << other for other, value in enumerate(row) if value > diameter) for row in between]


def mda(context: Context) -> Weighted | None:
    """Average the n - f rows whose two farthest are nearest; of equal sets the first in lexical order.

    A set of diameter t leaves out a vertex cover of the pairs farther apart than t, so a binary search over
    the distances asks for covers of at most f rows instead of trying all C(n, f) sets. Finding a cover
    still takes exponential time on crafted rows: past STEPS_MAX steps the rule declines.

    Bounds:
        Squared distances as in Krum: Python integers.

    Breakdown:
        2f < n.

    Source:
        El Mhamdi et al. 2018/2020, MDA (arXiv:1905.03853); Rousseeuw 1985.
    """
    rows = closest_rows(distances(context.products), context.faulty_max)
    return None if rows is None else average_of(rows, context.count)


MDA = Rule("mda", "2f < n", has_honest_majority, mda, may_decline=True)
