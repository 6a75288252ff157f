"""The mean weighted by examples: exact federated averaging, without any protection against liars."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from p2pfed.aggregation.division import RuleSum
from p2pfed.types.model import Int16Vector

WEIGHT_TOTAL = 1 << 30  # Weights are fractions of this; times 2^15 they stay far inside int64.
BLOCK_ELEMENTS = 1 << 14


def example_weights(examples: Sequence[int], examples_cap: int) -> list[int]:
    """Return integer weights that sum to WEIGHT_TOTAL, proportional to `examples` by largest remainder.

    Args:
        examples: Claimed by each trainer, at least 1; in the order of their public keys, which breaks ties.
        examples_cap: Claims above this many medians count as that many; 0 for no cap. The median of an even
            number is the larger of the two in the middle.
    """
    assert examples
    assert min(examples) >= 1
    if examples_cap:
        largest = examples_cap * sorted(examples)[len(examples) // 2]
        examples = [min(claim, largest) for claim in examples]
    whole = sum(examples)
    quotas = [divmod(claim * WEIGHT_TOTAL, whole) for claim in examples]
    weights = [quotient for quotient, _ in quotas]
    by_remainder = sorted(range(len(quotas)), key=lambda row: (-quotas[row][1], row))
    for row in by_remainder[: WEIGHT_TOTAL - sum(weights)]:
        weights[row] += 1
    return weights


def mean(rows: Sequence[Int16Vector], weights: Sequence[int]) -> RuleSum:
    """Return the weighted sum of the rows over WEIGHT_TOTAL.

    Bounds:
        The weights sum to 2^30, so `|total| <= 2^30 * 32767 < 2^45`.

    Source:
        McMahan et al. 2017, FederatedAveraging (arXiv:1602.05629): `w - eta * sum_k (n_k / n) grad F_k(w)`.
    """
    assert sum(weights) == WEIGHT_TOTAL
    assert len(weights) == len(rows)
    total = np.zeros(rows[0].size, np.int64)
    scratch = np.empty(min(total.size, BLOCK_ELEMENTS), np.int64)
    for begin in range(0, total.size, BLOCK_ELEMENTS):
        out = total[begin : begin + BLOCK_ELEMENTS]
        product = scratch[: out.size]
        for row, weight in zip(rows, weights, strict=True):
            np.multiply(row[begin : begin + BLOCK_ELEMENTS], np.int64(weight), out=product)
            out += product
    return RuleSum(total, WEIGHT_TOTAL)
