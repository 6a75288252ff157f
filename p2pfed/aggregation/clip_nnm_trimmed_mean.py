"""The default rule: median-norm clip, then nearest-neighbour mixing, then the trimmed mean.

Clipping comes first: a sign flip has no variance, so without it the flipped row can lie nearer to an honest
one than another honest row does, and mixing would spread it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from p2pfed.aggregation.clipping import clip_factors, clip_rows
from p2pfed.aggregation.division import RuleSum
from p2pfed.aggregation.gram import gram, neighbour_sums
from p2pfed.aggregation.network import middle_network
from p2pfed.aggregation.nnm import nearest_neighbours
from p2pfed.types.model import Int16Vector

BLOCK_ELEMENTS = 1 << 13  # The mixed rows are int32: half the columns of the int16 networks.


def clip_nnm_trimmed_mean(rows: Sequence[Int16Vector], faulty_max: int) -> RuleSum:
    """Clip the rows to the median norm, mix each with its nearest, drop f at both ends, sum the rest.

    Args:
        rows: int16, shape `(d_g,)` each.
        faulty_max: Rows that may lie, `f`, with `2 * f < n`. With `f = 0` the result is the
            mean of the clipped rows.

    Bounds:
        A mixed value is below `2^9 * 2^15 = 2^24`, the sum below `2^33`, the denominator at most `2^18`.
    """
    n, size = len(rows), rows[0].size
    assert 0 <= 2 * faulty_max < n
    products = gram(rows)
    factors = clip_factors(products)
    mask = nearest_neighbours(products, factors, faulty_max)
    network = middle_network(n, faulty_max, n - faulty_max)
    scratch = network.scratch(min(size, BLOCK_ELEMENTS), np.int32)
    clipped = np.empty((n, min(size, BLOCK_ELEMENTS)), np.int16)
    total = np.empty(size, np.int64)
    for begin in range(0, size, BLOCK_ELEMENTS):
        out = total[begin : begin + BLOCK_ELEMENTS]
        block = clipped[:, : out.size]
        clip_rows([row[begin : begin + out.size] for row in rows], factors, block)
        mixed = neighbour_sums(mask, block)
        network.run([*mixed, *(register[: out.size] for register in scratch)], out)
    return RuleSum(total, (n - faulty_max) * (n - 2 * faulty_max))
