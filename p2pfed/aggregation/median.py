"""The coordinate-wise median: half of the values may lie and it still stays among the honest ones."""

from __future__ import annotations

from p2pfed.aggregation.network import SumOfRanks
from p2pfed.aggregation.rule import Blockwise, Context, Rule, has_honest_majority


def median(context: Context) -> Blockwise:
    """Take the middle value of each coordinate, or the sum of the two middle ones over 2.

    Bounds:
        Two values of at most 2^24: int32.

    Breakdown:
        2f < n: each coordinate stays within the honest values.

    Source:
        Yin et al. 2018, Definition 1 (arXiv:1803.01498).
    """
    n = context.count
    start, stop = (n - 1) // 2, n // 2 + 1
    return Blockwise(SumOfRanks(n, start, stop), stop - start, range(n))


MEDIAN = Rule("median", "2f < n", has_honest_majority, median, uses_products=False, by_coordinate=True)
