"""Several liars of one kind in one process, who see every honest update of the height."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from p2pfed.adversary.attacks.attack import Attack, Sight
from p2pfed.adversary.attacks.foresight import Foresight, step_between
from p2pfed.types.model import Group, Int16Vector, ModelState


class Crew:
    """Makes the updates of `attacks`, one a liar; those who send the same are asked once a height.

    Args:
        attacks: One instance a liar, all of one kind.
        seed: Of their dice.
        arrays: Of the model, where the rule works on something else than each of them.
    """

    def __init__(self, attacks: Sequence[Attack], seed: int, arrays: Sequence[Group] = ()) -> None:
        self._attacks, self._seed, self._arrays = attacks, seed, arrays

    def crafted(
        self,
        height: int,
        own: Sequence[Int16Vector],
        honest: Sequence[Int16Vector],
        foresight: Foresight,
        before: ModelState | None,
    ) -> list[Int16Vector]:
        """Return the update of each liar.

        Args:
            height: The height that the updates are for.
            own: What each liar trained.
            honest: The updates of all others.
            foresight: With the model that all of them trained from.
            before: The model a height earlier; None at the first.
        """
        manifest = foresight.manifest
        step = None if before is None else step_between(before, foresight.model, manifest)
        made: list[Int16Vector] = []
        for place, (attack, trained) in enumerate(zip(self._attacks, own, strict=True)):
            if made and attack.is_joint:
                made.append(made[0])
                continue
            sight = Sight(
                own=trained, honest=honest, groups=manifest.groups,
                arrays=self._arrays or manifest.groups, liars=len(own),
                trainers=len(own) + len(honest), step=step,
                dice=np.random.default_rng([self._seed, height, place]),
                shared_dice=np.random.default_rng([self._seed]), merged=foresight.merged,
            )  # fmt: skip
            made.append(attack.craft(sight))
        return made
