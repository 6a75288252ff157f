"""Tie crafting: as near to a tie of Krum's scores as integers allow, on the winning side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from p2pfed.adversary.attacks.attack import Attack, Sight, saturated
from p2pfed.types.model import Int16Vector

_BISECTIONS = 40
_SCALE_MAX = 4.0


class TieCrafting(Attack):
    """Sends `-s * mean` of the honest, in each group with the largest s that Krum would still choose.

    s is bisected until the score of the copies is as near below the best honest score as integers allow:
    where scores are floats, machines that round otherwise choose different winners there and fork. Sums over
    the n - f nearest, as docs/spec/numerics.md R5. It also is the strongest flip that a lone Krum takes;
    where no s wins, the group gets a copy of the honest mean.

    Source:
        Fang et al. 2020, the attack on Krum, which searches the same scale (arXiv:1911.11815).
    """

    kind = "tie_crafting"
    waits = True
    is_joint = True

    def craft(self, sight: Sight) -> Int16Vector:
        made = saturated(sight.rows().mean(axis=0))
        for group in sight.groups:
            honest = np.stack([row[group.slice] for row in sight.honest or (sight.own,)]).astype(np.int64)
            made[group.slice] = _largest_that_wins(honest, sight.liars)
        return made


def _largest_that_wins(honest: NDArray[np.int64], liars: int) -> Int16Vector:
    mean = honest.mean(axis=0)
    among = _squared_distances(honest)
    nearest = len(honest)  # n - f

    def wins(row: Int16Vector) -> bool:
        to_row = [int(gap @ gap) for gap in honest - row.astype(np.int64)]
        mine = _score([0] * liars + to_row, nearest)
        others = (_score([*among[i], *[to_row[i]] * liars], nearest) for i in range(len(honest)))
        return mine <= min(others)

    low, high, best = -1.0, _SCALE_MAX, saturated(mean)  # s = -1 is the mean itself.
    for _ in range(_BISECTIONS):
        scale = (low + high) / 2
        row = saturated(-scale * mean)
        if wins(row):
            low, best = scale, row
        else:
            high = scale
    return best


def _score(distances: Sequence[int], nearest: int) -> int:
    return sum(sorted(distances)[:nearest])


def _squared_distances(rows: NDArray[np.int64]) -> list[list[int]]:
    return [[int(gap @ gap) for gap in rows - row] for row in rows]
