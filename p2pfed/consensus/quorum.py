"""The two thresholds that all of agreement stands on, cross-multiplied so that nothing is rounded."""

from __future__ import annotations


def has_quorum(power: int, total: int) -> bool:
    """Answer whether `power` is more than two thirds of `total`: two quorums share an honest validator."""
    return 3 * power > 2 * total


def has_honest_voice(power: int, total: int) -> bool:
    """Answer whether `power` is more than a third of `total`: at least one of its holders is honest."""
    return 3 * power > total
