"""Median-norm clipping: no row is longer than the median row, so no liar wins by shouting."""

from __future__ import annotations

from math import isqrt

from p2pfed.aggregation.mixture import FACTOR_ONE, Mixture
from p2pfed.aggregation.prerule import PreRule, all_rows
from p2pfed.aggregation.rule import Gram


def clip_factors(products: Gram) -> list[int]:
    """Return each row's factor in units of 2^-15, from the exact inner products of the rows.

    The norms are floors of square roots; the median of an even number is the larger of the two in the middle.
    """
    norms = [isqrt(products[row][row]) for row in range(len(products))]
    return factors_to(norms, sorted(norms)[len(norms) // 2])


def factors_to(norms: list[int], largest: int) -> list[int]:
    """Return the factors, in units of 2^-15 and rounded down, that bring `norms` to at most `largest`."""
    return [FACTOR_ONE if norm <= largest else largest * FACTOR_ONE // norm for norm in norms]


def clip(mixture: Mixture, _faulty_max: int, _seed: bytes) -> Mixture:
    """Shorten rows to the median norm.

    It comes before mixing: a sign flip has no variance, so without it the flipped row can lie nearer to an
    honest one than another honest row does, and mixing would spread it.

    Bounds:
        A factor has 15 bits; products of scaled rows are below `2^30 * 2^52`.

    Breakdown:
        2f < n: the median norm is at most an honest row's.
    """
    return mixture.scaled(clip_factors(mixture.products))


CLIP = PreRule("clip", 1, all_rows, clip)
