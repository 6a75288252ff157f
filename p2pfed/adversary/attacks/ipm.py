"""Inner-product manipulation: the aggregate is to point away from the honest mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from p2pfed.adversary.attacks.attack import Attack, Sight, saturated
from p2pfed.adversary.attacks.search import most_harmful
from p2pfed.types.model import Int16Vector


class Ipm(Attack):
    """Sends `-epsilon * mean` of the honest updates: 0.5 hides among them, 10 shouts.

    Source:
        Xie et al. 2020, Fall of Empires (arXiv:1903.03936).
    """

    kind = "ipm"
    settings: ClassVar[Mapping[str, float]] = {"epsilon": 0.5}
    waits = True
    is_joint = True

    def craft(self, sight: Sight) -> Int16Vector:
        return saturated(-self.chosen["epsilon"] * sight.rows().mean(axis=0))


class OptimalIpm(Attack):
    """IPM with the epsilon, found by `evals` trials, whose aggregate is farthest from the honest mean.

    Source:
        Shejwalkar and Houmansadr 2021, section IV; as ByzFL's Optimal IPM.
    """

    kind = "ipm_optimal"
    settings: ClassVar[Mapping[str, float]] = {"evals": 16.0}
    waits = True
    is_joint = True

    def craft(self, sight: Sight) -> Int16Vector:
        mean = sight.rows().mean(axis=0)
        return most_harmful(sight, lambda epsilon: saturated(-epsilon * mean), int(self.chosen["evals"]))
