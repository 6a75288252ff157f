"""Concentrated: a lie about one small tensor, honest everywhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from p2pfed.adversary.attacks.attack import Attack, Sight, saturated
from p2pfed.types.model import Int16Vector


class Concentrated(Attack):
    """Sends `-scale * own` in one array of the model, its honest update in all others.

    group: Counted from 0; -1 is the smallest array, the first of several.

    Distances over whole updates hardly see it: a bias of ten numbers among a hundred thousand.
    """

    kind = "concentrated"
    settings: ClassVar[Mapping[str, float]] = {"group": -1.0, "scale": 4.0}

    def craft(self, sight: Sight) -> Int16Vector:
        wanted = int(self.chosen["group"])
        smallest = min(range(len(sight.arrays)), key=lambda index: sight.arrays[index].size)
        group = sight.arrays[smallest if wanted < 0 else min(wanted, len(sight.arrays) - 1)]
        made = sight.own.copy()
        made[group.slice] = saturated(-self.chosen["scale"] * made[group.slice].astype(np.float64))
        return made
