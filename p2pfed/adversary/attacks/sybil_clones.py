"""Sybil clones: one will under many names, and it never changes its mind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from p2pfed.adversary.attacks.attack import Attack, Sight, root_mean_square, saturated
from p2pfed.types.model import Int16Vector


class SybilClones(Attack):
    """Sends `scale * rms(own) * z` in each group: z Gaussian, one for all clones and all heights.

    Each clone is as long as an honest update, and their rows lie together, nearer than honest ones do.

    Source:
        Fung et al. 2018, Sybils that share an objective (arXiv:1808.04866).
    """

    kind = "sybil_clones"
    settings: ClassVar[Mapping[str, float]] = {"scale": 1.0}
    is_joint = True

    def craft(self, sight: Sight) -> Int16Vector:
        made = sight.shared_dice.standard_normal(sight.own.size)
        for group in sight.groups:
            made[group.slice] *= self.chosen["scale"] * root_mean_square(sight.own[group.slice])
        return saturated(np.asarray(made, np.float64))
