"""Gaussian noise in place of an update."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from p2pfed.adversary.attacks.attack import Attack, Sight, root_mean_square, saturated
from p2pfed.types.model import Int16Vector


class Noise(Attack):
    """Sends `N(0, (scale * (rms(own) + 1))^2)` in each coordinate.

    Source:
        Blanchard et al. 2017, the Gaussian Byzantine worker (arXiv:1703.02757).
    """

    kind = "noise"
    settings: ClassVar[Mapping[str, float]] = {"scale": 10.0}

    def craft(self, sight: Sight) -> Int16Vector:
        deviation = self.chosen["scale"] * (root_mean_square(sight.own) + 1.0)
        return saturated(sight.dice.normal(0.0, deviation, sight.own.shape))
