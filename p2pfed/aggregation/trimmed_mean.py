"""The coordinate-wise trimmed mean: drop the f smallest and largest values, average the rest."""

from __future__ import annotations

from p2pfed.aggregation.network import SumOfRanks
from p2pfed.aggregation.rule import Blockwise, Context, Rule, has_honest_majority


def trimmed_mean(context: Context) -> Blockwise:
    """Drop the f smallest and largest values of each coordinate, average the rest.

    Bounds:
        At most 2^9 values of at most 2^15 (2^24 where rows are mixed) sum to less than 2^33.

    Breakdown:
        2f < n: each coordinate stays within the honest values. Order-optimal where the honest agree.

    Source:
        Yin et al. 2018, Definition 2 (arXiv:1803.01498).
    """
    n, faulty_max = context.count, context.faulty_max
    return Blockwise(SumOfRanks(n, faulty_max, n - faulty_max), n - 2 * faulty_max, range(n))


TRIMMED_MEAN = Rule(
    "trimmed_mean", "2f < n", has_honest_majority, trimmed_mean, uses_products=False, by_coordinate=True
)
