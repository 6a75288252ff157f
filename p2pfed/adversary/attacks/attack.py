"""What a liar about values is: it sees updates and answers with one of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from p2pfed.types.model import Group, Int16Vector
from p2pfed.types.params import COORDINATE_MAX

FloatVector = NDArray[np.float64]
FloatMatrix = NDArray[np.float64]


class Sight(Struct, frozen=True, eq=False):
    """What a liar sees when it makes its update of a height. Vectors are int16, shape `(d,)`, update units.

    own: What it trained itself.
    honest: The honest updates: all of them in the laboratory, those that have come in a real network.
    groups: What the rule works on, each group alone.
    arrays: The arrays of the model; the same, unless an experiment lets the rule work on whole rows.
    liars: How many lie together, f, this one among them.
    trainers: How many train at this height, n.
    step: What the last height added to the model; None at the first.
    dice: Of this liar and height; they repeat.
    shared_dice: The same for all liars and heights.
    merged: What the network's rule would make of these updates, float64, shape `(d,)`.
    """

    own: Int16Vector
    honest: Sequence[Int16Vector]
    groups: Sequence[Group]
    arrays: Sequence[Group]
    liars: int
    trainers: int
    step: Int16Vector | None
    dice: np.random.Generator
    shared_dice: np.random.Generator
    merged: Callable[[Sequence[Int16Vector]], FloatVector]

    def rows(self) -> FloatMatrix:
        """Return the honest updates, float64, shape `(rows, d)`; where none is seen, its own."""
        return np.stack([row.astype(np.float64) for row in self.honest or (self.own,)])


class Attack:
    """A way to make a false update. An instance may remember what it saw, from height to height.

    kind: Its name; `settings`: what can be set, with defaults.
    waits: It is made from the honest updates, so a real peer holds its own back until it has theirs.
    is_joint: All who lie together send the same.
    poison: What the liar's learner is told to do to its data: `poison=…` of the app's settings; "" nothing.
    boast: What a real peer says in its own log.
    """

    kind: ClassVar[str] = ""
    settings: ClassVar[Mapping[str, float]] = {}
    waits: ClassVar[bool] = False
    is_joint: ClassVar[bool] = False
    poison: ClassVar[str] = ""
    boast: ClassVar[str] = "published another update than it trained"

    def __init__(self, settings: Mapping[str, float]) -> None:
        assert set(settings) == set(type(self).settings)
        self.chosen = settings

    def craft(self, sight: Sight) -> Int16Vector:
        """Return the update to send, int16, shape `(d,)`, within +-COORDINATE_MAX."""
        raise NotImplementedError


def saturated(values: FloatVector) -> Int16Vector:
    """Return `values` rounded to what an update can hold, int16 of the same shape."""
    result: Int16Vector = np.clip(np.rint(values), -COORDINATE_MAX, COORDINATE_MAX).astype(np.int16)
    return result


def root_mean_square(row: Int16Vector | FloatVector) -> float:
    """Return the root of the mean of the squares."""
    return float(np.sqrt(np.mean(np.square(row, dtype=np.float64))))
