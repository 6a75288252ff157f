"""What a liar knows of the network's next step: rules, model and f are public, so it computes the merge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from p2pfed.adversary.attacks.attack import FloatVector
from p2pfed.aggregation.engine import choose_rule, merge
from p2pfed.primitives.digest import ZERO_DIGEST
from p2pfed.privacy.mechanism import model_view, quantise
from p2pfed.types.model import Int16Vector, Manifest, ModelState


class Foresight(Struct, frozen=True, eq=False):
    """The network's rules and the model of a height.

    rules: In the order of genesis; faulty_max: f, by which the network computes.
    """

    manifest: Manifest
    model: ModelState
    rules: tuple[str, ...]
    faulty_max: int
    update_bits: int
    seed: bytes = ZERO_DIGEST

    def merged(self, rows: Sequence[Int16Vector]) -> FloatVector:
        """Return what the network would make of `rows`, update units; zeros where no rule could merge them.

        As if all claimed equally many examples, and as if the aggregate of the height before were not known.
        """
        rule = choose_rule(self.rules, len(rows), self.faulty_max)
        if rule is None:
            return np.zeros(self.manifest.size)
        still = replace(self.model, velocity=np.empty(0, np.int32))  # The aggregate is the same without.
        made = merge(
            self.manifest, still, rows, [1] * len(rows), faulty_max=self.faulty_max, rule=rule,
            later_rules=self.rules[self.rules.index(rule) + 1 :], update_bits=self.update_bits,
            examples_cap=0, seed=self.seed,
        )  # fmt: skip
        units = made.aggregate.astype(np.float64)
        gaps = self.model.update_exponents.astype(int) - self.model.model_exponents
        for group, gap in zip(self.manifest.groups, gaps.tolist(), strict=True):
            units[group.slice] *= 2.0**gap
        return units


def step_between(before: ModelState, after: ModelState, manifest: Manifest) -> Int16Vector:
    """Return what was added to the model from one height to the next, in the update units of the later."""
    groups = manifest.groups
    difference = model_view(after, groups).astype(np.float64) - model_view(before, groups)
    return quantise(difference, groups, after.update_exponents)
