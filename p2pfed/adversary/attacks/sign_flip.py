"""Sign flip: the honest update, turned round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from p2pfed.adversary.attacks.attack import Attack, Sight, saturated
from p2pfed.types.model import Int16Vector


class SignFlip(Attack):
    """Sends `-scale * own`.

    Source:
        Li et al. 2019, RSA (arXiv:1811.03761); 1 is the plain flip, larger ones shout.
    """

    kind = "sign_flip"
    settings: ClassVar[Mapping[str, float]] = {"scale": 4.0}

    def craft(self, sight: Sight) -> Int16Vector:
        return saturated(-self.chosen["scale"] * sight.own.astype(np.float64))
