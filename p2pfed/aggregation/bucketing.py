"""Bucketing: average pairs of rows drawn by dice, so that what is left differs less between honest peers."""

from __future__ import annotations

import numpy as np

from p2pfed.aggregation.dice import permutation
from p2pfed.aggregation.mixture import Mixture
from p2pfed.aggregation.prerule import PreRule

BUCKET = 2  # The source's choice when liars may be many: each spoils one bucket.


def bucketing(mixture: Mixture, _faulty_max: int, seed: bytes) -> Mixture:
    """Replace the rows by sums of pairs, in an order of dice; a last row alone counts twice.

    Bounds:
        Two values below 2^15: int32.

    Breakdown:
        f liars spoil at most f of the n div 2 (rounded up) buckets, so rules behind it need 4f < n or so.

    Source:
        Karimireddy et al. 2022, Algorithm 1 with s = 2 (arXiv:2006.09365).
    """
    n = mixture.count
    order = permutation(seed, "bucketing", n)
    matrix = np.zeros((buckets(n), n), np.int64)
    for place, row in enumerate(order):
        matrix[place // BUCKET, row] = 1
    if n % BUCKET:
        matrix[-1, order[-1]] = BUCKET
    return mixture.mixed(matrix, BUCKET)


def buckets(count: int) -> int:
    """Return how many buckets `count` rows fill."""
    return -(-count // BUCKET)


BUCKETING = PreRule("bucketing", 2, buckets, bucketing, uses_products=False)
