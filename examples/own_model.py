"""A model and data of your own: linear regression on a sensor's log, in plain numpy.

p2pfed init --members keys.txt --app examples/own_model.py:learner
"""

from __future__ import annotations

import numpy as np

from p2pfed.learning.learner import AppContext, Array, Metrics, TrainContext, TrainResult


class SensorModel:
    """Predicts a reading from three measurements: `x @ slope + offset`."""

    def __init__(self, x: Array, y: Array) -> None:
        kept = len(x) // 5
        self.x, self.y = x[kept:], y[kept:]
        self.held_out_x, self.held_out_y = x[:kept], y[:kept]

    def weights(self) -> list[Array]:
        return [np.zeros(3, np.float32), np.zeros(1, np.float32)]

    def train(self, weights: list[Array], context: TrainContext) -> TrainResult:
        slope, offset = weights
        for row in np.random.default_rng(context.seed).permutation(len(self.x)):
            error = self.x[row] @ slope + offset - self.y[row]
            slope -= 0.02 * error * self.x[row]
            offset -= 0.02 * error
        return TrainResult([slope, offset], examples=len(self.x))

    def evaluate(self, weights: list[Array], context: TrainContext) -> Metrics:
        slope, offset = weights
        error = self.held_out_x @ slope + offset - self.held_out_y
        return {"error": float(np.sqrt(np.mean(error**2)))}


def learner(context: AppContext) -> SensorModel:
    """Build this peer's learner. Read your own file here; each peer of this example invents its log."""
    dice = np.random.default_rng(context.index)
    x = dice.normal(size=(200, 3)).astype(np.float32)
    y = x @ np.array([2.0, -1.0, 0.5], np.float32) + 3 + dice.normal(0, 0.1, 200).astype(np.float32)
    return SensorModel(x, y)
