"""Exponent steering: one extreme element a group, so that the unit of all updates follows the liars."""

from __future__ import annotations

import numpy as np

from p2pfed.adversary.attacks.attack import Attack, Sight
from p2pfed.types.model import Int16Vector
from p2pfed.types.params import COORDINATE_MAX


class ExponentSteering(Attack):
    """Sends its honest update, but in each group the largest element becomes COORDINATE_MAX, sign turned.

    Were e to follow the largest element of all, it would fall by 4 at each height until honest updates round
    to zero. It follows the (k+1)-th largest peak, k >= f: f liars can't steer it (docs/spec/numerics.md, N6).
    """

    kind = "exponent_steering"

    def craft(self, sight: Sight) -> Int16Vector:
        made = sight.own.copy()
        for group in sight.groups:
            part = made[group.slice]
            peak = int(np.argmax(np.abs(part.astype(np.int32))))
            part[peak] = -COORDINATE_MAX if part[peak] > 0 else COORDINATE_MAX
        return made
