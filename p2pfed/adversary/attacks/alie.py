"""A little is enough: so near to the honest that no rule tells it from them, all in one direction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from p2pfed.adversary.attacks.attack import Attack, Sight, saturated
from p2pfed.adversary.attacks.search import most_harmful
from p2pfed.types.model import Int16Vector


class Alie(Attack):
    """Sends `mean - z * deviation` of the honest updates, per coordinate.

    Source:
        Baruch et al. 2019 (arXiv:1902.06156).
    """

    kind = "alie"
    settings: ClassVar[Mapping[str, float]] = {"z": 1.5}
    waits = True
    is_joint = True

    def craft(self, sight: Sight) -> Int16Vector:
        rows = sight.rows()
        return saturated(rows.mean(axis=0) - self.chosen["z"] * rows.std(axis=0))


class OptimalAlie(Attack):
    """ALIE with the z, found by `evals` trials, whose aggregate is farthest from the honest mean.

    Source:
        Shejwalkar and Houmansadr 2021, section IV; as ByzFL's Optimal ALIE.
    """

    kind = "alie_optimal"
    settings: ClassVar[Mapping[str, float]] = {"evals": 16.0}
    waits = True
    is_joint = True

    def craft(self, sight: Sight) -> Int16Vector:
        rows = sight.rows()
        mean, deviation = rows.mean(axis=0), rows.std(axis=0)
        return most_harmful(sight, lambda z: saturated(mean - z * deviation), int(self.chosen["evals"]))
