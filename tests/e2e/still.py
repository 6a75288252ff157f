"""A learner for chains made by support.chain: it learns nothing, quickly."""

from __future__ import annotations

import numpy as np

from p2pfed.learning.learner import Array, Metrics, TrainContext, TrainResult


class Still:
    """Two arrays as in `support.chain.small_manifest`, moved a little by each training."""

    def weights(self) -> list[Array]:
        return [np.zeros((3, 4), np.float32), np.zeros(4, np.float32)]

    def train(self, weights: list[Array], context: TrainContext) -> TrainResult:
        return TrainResult([array + np.float32(0.001) for array in weights], 10)

    def evaluate(self, weights: list[Array], context: TrainContext) -> Metrics:
        return {}


def learner(_: object) -> Still:
    return Still()
