"""ARC: shorten as many of the longest rows as could matter, to the length of the longest that is left
alone.
"""

from __future__ import annotations

from math import isqrt

from p2pfed.aggregation.clipping import factors_to
from p2pfed.aggregation.mixture import Mixture
from p2pfed.aggregation.prerule import PreRule, all_rows


def arc(mixture: Mixture, faulty_max: int, _seed: bytes) -> Mixture:
    """Shorten the k = 2f(n - f) div n longest rows to the norm of the next longest.

    Bounds:
        As the median-norm clip.

    Breakdown:
        2f < n; it keeps the (f, kappa) of the rule behind it.

    Source:
        Allouah et al. 2024, Adaptive Gradient Clipping for Robust Federated Learning (arXiv:2405.14432).
    """
    n = mixture.count
    norms = [isqrt(mixture.products[row][row]) for row in range(n)]
    clipped = 2 * faulty_max * (n - faulty_max) // n
    return mixture.scaled(factors_to(norms, sorted(norms)[n - clipped - 1]))


ARC = PreRule("arc", 1, all_rows, arc)
