"""As far as a valid update can go: every element at the end of its range."""

from __future__ import annotations

import numpy as np

from p2pfed.adversary.attacks.attack import Attack, Sight
from p2pfed.types.model import Int16Vector
from p2pfed.types.params import COORDINATE_MAX


class HugeNorm(Attack):
    """Sends COORDINATE_MAX in each coordinate: the largest update that can be encoded."""

    kind = "huge_norm"
    is_joint = True

    def craft(self, sight: Sight) -> Int16Vector:
        return np.full(sight.own.shape, COORDINATE_MAX, np.int16)


class BoundHugging(Attack):
    """Sends `-COORDINATE_MAX * sign(mean of the honest)`: just valid, and against everybody.

    A coordinate whose mean is zero gets COORDINATE_MAX.
    """

    kind = "bound_hugging"
    waits = True
    is_joint = True

    def craft(self, sight: Sight) -> Int16Vector:
        against = np.where(sight.rows().sum(axis=0) > 0, -COORDINATE_MAX, COORDINATE_MAX)
        return against.astype(np.int16)
