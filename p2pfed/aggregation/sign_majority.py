"""Sign majority: each row has one vote a coordinate, and the step is as long as a typical row's."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Any

import numpy as np

from p2pfed.aggregation.division import Sums
from p2pfed.aggregation.rule import BlockFunction, Blockwise, Context, IntRow, Rule, has_honest_majority

STEP_BITS = 8


class SignMajority:
    """The kernel that writes `step` with the sign that most rows have, 0 where they are even."""

    def __init__(self, step: int) -> None:
        self._step = step

    def start(self, elements: int, _dtype: type[np.integer[Any]]) -> BlockFunction:
        votes, signs = np.empty(elements, np.int16), np.empty(elements, np.int16)

        def run(rows: Sequence[IntRow], out: Sums) -> None:
            vote, sign = votes[: out.size], signs[: out.size]
            vote[:] = 0
            for row in rows:
                np.sign(row, out=sign, casting="same_kind")
                vote += sign
            np.sign(vote, out=vote)
            np.multiply(vote, out.dtype.type(self._step), out=out)

        return run


def sign_majority(context: Context) -> Blockwise:
    """Step by the median row's root mean square along the sign that most rows agree on.

    Bounds:
        At most 2^9 votes. The step, in units of 2^-8, is at most 2^8 times the largest value: 2^32.

    Breakdown:
        2f < n for the direction where the honest agree; the step is at most an honest row's.

    Source:
        Bernstein et al. 2019, signSGD with majority vote (arXiv:1810.05291).
    """
    squares = sorted(context.products[row][row] for row in range(context.count))
    step = isqrt((squares[context.count // 2] << 2 * STEP_BITS) // (context.unit * context.size))
    return Blockwise(SignMajority(step), 1 << STEP_BITS, range(context.count))


SIGN_MAJORITY = Rule("sign_majority", "2f < n", has_honest_majority, sign_majority)
