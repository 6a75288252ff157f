"""The coordinate-wise median: half of the values may lie and it still stays among the honest ones."""

from __future__ import annotations

from collections.abc import Sequence

from p2pfed.aggregation.division import RuleSum
from p2pfed.aggregation.network import middle_sum
from p2pfed.types.model import Int16Vector


def median(rows: Sequence[Int16Vector]) -> RuleSum:
    """Return the middle value of each coordinate, or the sum of the two middle ones over 2.

    Source:
        Yin et al. 2018, Definition 1 (arXiv:1803.01498).
    """
    start, stop = (len(rows) - 1) // 2, len(rows) // 2 + 1
    return RuleSum(middle_sum(rows, start, stop), stop - start)
