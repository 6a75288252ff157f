"""Two changes to any learner, to compare what a network would do with them."""

from __future__ import annotations

import msgspec
import numpy as np

from p2pfed.learning.delta import describe
from p2pfed.learning.learner import Array, Learner, LearnerError, Metrics, TrainContext, TrainResult
from p2pfed.types.model import Manifest


class WholeRow:
    """A learner whose arrays are handed out as one: rules then work on whole updates, in one unit.

    Raises:
        LearnerError: The learner has arrays that are not float.
    """

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        arrays = learner.weights()
        if any(array.dtype.kind != "f" for array in arrays):
            raise LearnerError("whole rows need a model of float arrays alone")
        self._shapes = [array.shape for array in arrays]
        self._ends = np.cumsum([array.size for array in arrays])[:-1].tolist()

    def weights(self) -> list[Array]:
        return [_joined(self._learner.weights())]

    def train(self, weights: list[Array], context: TrainContext) -> TrainResult:
        result = self._learner.train(self._cut(weights), context)
        return TrainResult([_joined(result.weights)], result.examples, result.metrics)

    def evaluate(self, weights: list[Array], context: TrainContext) -> Metrics:
        return self._learner.evaluate(self._cut(weights), context)

    def _cut(self, weights: list[Array]) -> list[Array]:
        parts = np.split(weights[0], self._ends)
        return [part.reshape(shape).copy() for part, shape in zip(parts, self._shapes, strict=True)]


def _joined(arrays: list[Array]) -> Array:
    return np.concatenate([array.reshape(-1).astype(np.float32) for array in arrays])


class Momentum:
    """A learner that keeps a share of its last step: `m <- share * m + (1 - share) * u`, and sends m.

    Source:
        Karimireddy et al. 2021, worker momentum (arXiv:2012.10333), here over the updates of heights.
    """

    def __init__(self, learner: Learner, share: float) -> None:
        self._learner, self._share = learner, share
        self._last: list[Array] | None = None

    def weights(self) -> list[Array]:
        return self._learner.weights()

    def manifest(self) -> Manifest:
        offered = getattr(self._learner, "manifest", None)
        made: Manifest = describe(self._learner.weights()) if offered is None else offered()
        return made

    def train(self, weights: list[Array], context: TrainContext) -> TrainResult:
        start = [array.copy() for array in weights]
        result = self._learner.train(weights, context)
        steps = [after - before for after, before in zip(result.weights, start, strict=True)]
        if self._last is not None:
            steps = [
                self._share * last + (1 - self._share) * step
                for last, step in zip(self._last, steps, strict=True)
            ]
        if context.height > 0:  # The founding only measures.
            self._last = steps
        moved = [(before + step).astype(before.dtype) for before, step in zip(start, steps, strict=True)]
        return msgspec.structs.replace(result, weights=moved)

    def evaluate(self, weights: list[Array], context: TrainContext) -> Metrics:
        return self._learner.evaluate(weights, context)
