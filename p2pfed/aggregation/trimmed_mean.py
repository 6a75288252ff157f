"""The coordinate-wise trimmed mean: drop the f smallest and largest values, average the rest."""

from __future__ import annotations

from collections.abc import Sequence

from p2pfed.aggregation.division import RuleSum
from p2pfed.aggregation.network import middle_sum
from p2pfed.types.model import Int16Vector


def trimmed_mean(rows: Sequence[Int16Vector], faulty_max: int) -> RuleSum:
    """Drop the `faulty_max` smallest and largest values of each coordinate, sum the rest.

    Args:
        rows: int16, shape `(d_g,)` each.
        faulty_max: Rows that may lie, `f`, with `2 * f < n`.

    Source:
        Yin et al. 2018, Definition 2 (arXiv:1803.01498).
    """
    n = len(rows)
    assert 0 <= 2 * faulty_max < n
    return RuleSum(middle_sum(rows, faulty_max, n - faulty_max), n - 2 * faulty_max)
