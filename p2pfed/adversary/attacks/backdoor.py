"""Backdoor with model replacement: a mark on the image decides, and the lie is scaled to survive the mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from p2pfed.adversary.attacks.attack import Attack, Sight, saturated
from p2pfed.types.model import Int16Vector


class Backdoor(Attack):
    """Trains on images of which half bear a mark and the label 0; sends `scale * own`.

    scale: 0 is n / f: with it the plain mean becomes the liars' model. The learner marks the images:
    `poison=backdoor` among the settings of its app, and measures what share of marked test images it gets.

    Source:
        Bagdasaryan et al. 2020, model replacement with gamma = n / eta (arXiv:1807.00459).
    """

    kind = "backdoor"
    settings: ClassVar[Mapping[str, float]] = {"scale": 0.0}
    poison = "backdoor"
    boast = "published an update that was trained on marked images, scaled up"

    def craft(self, sight: Sight) -> Int16Vector:
        scale = self.chosen["scale"] or sight.trainers / sight.liars
        return saturated(scale * sight.own.astype(np.float64))
