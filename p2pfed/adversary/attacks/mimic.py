"""Mimic: say once more what one honest peer says, so that it counts too much and others too little."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from p2pfed.adversary.attacks.attack import Attack, FloatVector, Sight
from p2pfed.types.model import Int16Vector


class Mimic(Attack):
    """Copies the honest update that lies farthest along z, the direction in which they differ most.

    z follows them from height to height: `z <- t/(t+1) z + 1/(t+1) sum <x_i - mean, z> (x_i - mean)`, scaled
    to length 1. It starts at the deviation of the first update. The copy is of the i with the largest
    `|<x_i - mean, z>|`. A peer whose data differ stays the farthest, so its bias adds up.

    Source:
        Karimireddy et al. 2022, Appendix B (arXiv:2006.09365). It is an honest update: no rule can refuse it.
    """

    kind = "mimic"
    waits = True
    is_joint = True
    boast = "published a copy of another's update"

    def __init__(self, settings: Mapping[str, float]) -> None:
        super().__init__(settings)
        self._direction: FloatVector | None = None
        self._turns = 0

    def craft(self, sight: Sight) -> Int16Vector:
        rows = sight.rows()
        off = rows - rows.mean(axis=0)
        before = self._direction if self._direction is not None and self._direction.any() else off[0]
        fresh = _unit((off @ before) @ off)
        self._direction = _unit(self._turns * before + fresh) if self._turns else fresh
        self._turns += 1
        honest = sight.honest or (sight.own,)
        return honest[int(np.argmax(np.abs(off @ self._direction)))]


def _unit(vector: FloatVector) -> FloatVector:
    length = float(np.linalg.norm(vector))
    return vector / length if length else vector
