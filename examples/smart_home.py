"""For makers of heating controls: learn how a house warms up without any house's readings leaving it.

The readings are synthetic, with noise; a broken house sends its updates the wrong way round.
Expect the error of the next hour's temperature to end below 0.30 degrees; the sensors' own noise is 0.20.

python examples/smart_home.py
"""

from __future__ import annotations

import numpy as np

import p2pfed
from p2pfed.learning.learner import AppContext, Array, Metrics, TrainContext, TrainResult

# How much of outside warmth, sun and heating reaches the room within an hour.
TRUE = np.array([0.3, 1.2, 2.0], np.float32)


def readings(seed: int, hours: int) -> tuple[Array, Array]:
    """Invent hours: outside, sun and heating (scaled), and how much warmer the room got, in degrees."""
    dice = np.random.default_rng(seed)
    x = dice.normal(size=(hours, 3)).astype(np.float32)
    return x, x @ TRUE + dice.normal(0, 0.2, hours).astype(np.float32)


class House:
    """Linear regression on one house's hours."""

    def __init__(self, index: int) -> None:
        self.x, self.y = readings(index, 240)
        self.test = readings(1_000, 500)

    def weights(self) -> list[Array]:
        return [np.zeros(3, np.float32)]

    def train(self, weights: list[Array], context: TrainContext) -> TrainResult:
        slope = weights[0]
        for _ in range(5):
            slope -= 0.2 * (self.x @ slope - self.y) @ self.x / len(self.x)
        return TrainResult([slope], examples=len(self.x))

    def evaluate(self, weights: list[Array], context: TrainContext) -> Metrics:
        x, y = self.test
        return {"error": float(np.sqrt(np.mean((x @ weights[0] - y) ** 2)))}


def learner(context: AppContext) -> House:
    """Build one house's learner."""
    return House(context.index)


if __name__ == "__main__":
    print(p2pfed.simulate(learner, peers=5, byzantine={"sign_flip:scale=6": 1}, heights=8))
