"""Free riders: they want the model and the reward, and have not trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from p2pfed.adversary.attacks.attack import Attack, Sight, root_mean_square, saturated
from p2pfed.types.model import Int16Vector


class FreeZero(Attack):
    """Sends zeros."""

    kind = "free_zero"
    is_joint = True
    boast = "published an update without having trained"

    def craft(self, sight: Sight) -> Int16Vector:
        return np.zeros_like(sight.own)


class FreeReplay(Attack):
    """Sends what the last height added to the model, for everybody has it; zeros at the first.

    Source:
        Lin et al. 2019, the delta-weights attack (arXiv:1911.12560).
    """

    kind = "free_replay"
    is_joint = True
    boast = FreeZero.boast

    def craft(self, sight: Sight) -> Int16Vector:
        return np.zeros_like(sight.own) if sight.step is None else sight.step.copy()


class FreeNoise(Attack):
    """Sends the last step of the model with noise of `scale` times its size: no two riders look alike.

    `step + N(0, (scale * (rms(step) + 1))^2)`, the size taken in each group.

    Source:
        Fraboni et al. 2021, disguised free riders (arXiv:2006.11901).
    """

    kind = "free_noise"
    settings: ClassVar[Mapping[str, float]] = {"scale": 0.5}
    boast = FreeZero.boast

    def craft(self, sight: Sight) -> Int16Vector:
        step = np.zeros(sight.own.shape) if sight.step is None else sight.step.astype(np.float64)
        for group in sight.groups:
            part = step[group.slice]
            part += sight.dice.normal(0.0, self.chosen["scale"] * (root_mean_square(part) + 1.0), part.shape)
        return saturated(step)
