"""The mean weighted by examples: exact federated averaging, without any protection against liars."""

from __future__ import annotations

from collections.abc import Sequence

from p2pfed.aggregation.fixed import shares
from p2pfed.aggregation.rule import Context, Rule, Weighted

WEIGHT_TOTAL = 1 << 30  # Weights are fractions of this; times 2^15 they stay far inside int64.


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
    return shares(examples, WEIGHT_TOTAL)


def mean(context: Context) -> Weighted:
    """Weigh each row by its examples; rows that a pre-rule mixed all count alike.

    Bounds:
        The weights sum to 2^30, so `|S| <= 2^30 * 32767 < 2^45`.

    Breakdown:
        None: one liar moves it as far as int16 goes.

    Source:
        McMahan et al. 2017, FederatedAveraging (arXiv:1602.05629): `w - eta * sum_k (n_k / n) grad F_k(w)`.
    """
    if context.weights is None:
        return Weighted([1] * context.count, context.count)
    assert sum(context.weights) == WEIGHT_TOTAL
    return Weighted(context.weights, WEIGHT_TOTAL)


# It promises nothing about liars, so it only needs an update to exist.
MEAN = Rule("mean", "n >= 1", lambda updates, _faulty: updates > 0, mean, uses_products=False)
