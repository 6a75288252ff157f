"""How long the steps of the model are: a replaced model is a jump, whatever else it hides."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import sqrt
from statistics import median

import numpy as np

from p2pfed.types.model import Group, ModelState
from p2pfed.types.params import MIB
from p2pfed.types.quality import CLASS_ONE, CLASS_UNKNOWN

STEPS_KEPT = 20  # As many as the gate's window has models.
STEPS_MIN = 5  # Fewer say nothing of the next: the first steps of a training are wild.
JUMP = 2  # So many medians. Honest steps in docs/qa/gate.md reach .8, replacements that took begin at 2.2.
MODELS_KEPT = 2  # That of a step's end, and the one it began from.
_PIECE = MIB


class Pace:
    """The lengths of the last steps, in one life of a peer. It keeps the two newest models."""

    def __init__(self) -> None:
        self._steps: deque[float] = deque(maxlen=STEPS_KEPT)
        self._models: dict[int, ModelState] = {}

    def see(self, height: int, model: ModelState) -> None:
        """Remember the model of a height: steps begin from it. A block that goes back has an older one."""
        self._models[height] = model
        for old in sorted(self._models)[:-MODELS_KEPT]:
            del self._models[old]

    def model_of(self, height: int) -> ModelState | None:
        """Return the model of a height, None where it was not seen or is too old."""
        return self._models.get(height)

    def calm(self, length: float | None, train_index: int) -> int:
        """Take in the length of a step; return CLASS_ONE for an ordinary one, 0 for a jump, or CLASS_UNKNOWN.

        Unknown where it has no length, or too few steps were seen here though the network has made more.
        Rejected steps count among the last ones too: a lasting change of pace is accepted after some heights.

        Args:
            length: Of `step_length`; None where the model before was not seen.
            train_index: How many new models there were up to this one.
        """
        if length is None:
            return CLASS_UNKNOWN
        steps = list(self._steps)
        self._steps.append(length)
        if len(steps) >= STEPS_MIN:
            return 0 if length > JUMP * median(steps) else CLASS_ONE
        return CLASS_ONE if train_index <= STEPS_MIN else CLASS_UNKNOWN


def step_length(before: ModelState, after: ModelState, groups: Sequence[Group]) -> float:
    """Return the Euclidean length of a step over all trained groups, in the learner's units.

    Statistics, such as those of batch norm, follow the data and are left out.
    """
    total = 0.0
    for index, group in enumerate(groups):
        if group.kind == "statistic":
            continue
        scales = [2.0 ** -int(model.model_exponents[index]) for model in (before, after)]
        for start in range(group.start, group.stop, _PIECE):
            here = slice(start, min(start + _PIECE, group.stop))
            change = after.weights[here] * scales[1] - before.weights[here] * scales[0]
            total += float(np.dot(change, change))
    return sqrt(total)
