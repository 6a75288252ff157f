"""SMEA: of all sets of n - f rows, average the one that varies least in its worst direction."""

from __future__ import annotations

from itertools import combinations, islice
from math import comb

import numpy as np
from numpy.typing import NDArray

from p2pfed.aggregation.krum import average_of
from p2pfed.aggregation.rule import Context, Rule, Weighted, has_honest_majority
from p2pfed.aggregation.spectrum import SQUARINGS, centred, entry_shifts, narrowed, normalised

# About a second; n=16, f=5 costs a twentieth. It depends on n and f alone, so nobody can craft a worst case.
STEPS_MAX = 1 << 27
CHUNK_MAX = 512
PRODUCT_BITS = 40
SCORE_BITS = 24


def variances(products: NDArray[np.int64], subsets: NDArray[np.int64]) -> list[int]:
    """Return, for each subset, its scatter's largest eigenvalue in one common unit.

    Args:
        products: Inner products of all rows, shape `(n, n)`, at most 40 bits.
        subsets: Rows of each subset, shape `(m, k)`, k <= 2^9.

    Bounds:
        k^2 G: 2^58; its row sums times k: 2^59 each; together below 2^61. After that entries have 22 bits: a
        square is below 2^53, the sum over all pairs below 2^62.
    """
    kept = subsets.shape[1]
    inner = products[subsets[:, :, None], subsets[:, None, :]]
    sums = inner.sum(2)
    scatter = kept * kept * inner - kept * (sums[:, :, None] + sums[:, None, :]) + sums.sum(1)[:, None, None]
    shifts = entry_shifts(scatter)
    scatter = scatter >> shifts[:, None, None]
    power = scatter
    for _ in range(SQUARINGS):
        power = normalised(power @ power)
    weighted = (scatter * power).sum((1, 2)).tolist()
    traces = power.trace(axis1=1, axis2=2).tolist()
    return [
        (value << (shift + SCORE_BITS)) // trace if trace > 0 else 0
        for value, trace, shift in zip(weighted, traces, shifts.tolist(), strict=True)
    ]


def is_affordable(updates: int, faulty_max: int) -> bool:
    """Answer whether the sets of n - f rows are few and small enough to try all of them."""
    return (
        has_honest_majority(updates, faulty_max)
        and comb(updates, faulty_max) * (updates - faulty_max) ** 3 <= STEPS_MAX
    )


def smea(context: Context) -> Weighted:
    """Average the n - f rows whose covariance has the smallest largest eigenvalue; of equals the first set.

    With S the set's centred inner products, the eigenvalue is `tr(S S^256) / tr(S^256)`: between the largest
    and, where others are as large, their mean.

    Breakdown:
        2f < n and C(n, f) (n - f)^3 <= 2^27: all sets are tried, so beyond that the next rule takes over.

    Source:
        Allouah et al. 2023, On the Privacy-Robustness-Utility Trilemma in Distributed Learning
        (arXiv:2302.04787).
    """
    n, kept = context.count, context.count - context.faulty_max
    products, _ = narrowed(centred(context.products), PRODUCT_BITS)
    every = combinations(range(n), kept)
    best = -1
    winner: tuple[int, ...] = ()
    while chunk := list(islice(every, CHUNK_MAX)):
        scores = variances(products, np.array(chunk, np.int64))
        lowest = min(scores)
        if best < 0 or lowest < best:
            best, winner = lowest, chunk[scores.index(lowest)]
    return average_of(list(winner), n)


SMEA = Rule(
    "smea",
    "2f < n and C(n, f) (n - f)^3 <= 2^27",
    is_affordable,
    smea,
)
