"""Integer rounding that every peer does alike."""

from __future__ import annotations


def floor_divide_half_up(numerator: int, denominator: int) -> int:
    """Return `numerator / denominator` rounded to the nearest integer, halves up; `denominator > 0`."""
    assert denominator > 0
    return (numerator + denominator // 2) // denominator


def has_more_than(part: int, whole: int, numerator: int, denominator: int) -> bool:
    """Answer whether `part / whole > numerator / denominator` without a division."""
    return part * denominator > whole * numerator
