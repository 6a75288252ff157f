"""For banks that may not show each other their payments: find the rare fraud together, though two banks lie.

The payments are synthetic, 2 in 100 are fraud. Expect a fraud to rank above an honest payment in at least
0.96 of all pairs (AUC), with two of seven banks sending flipped, fourfold updates.

python examples/fraud.py
"""

from __future__ import annotations

import numpy as np

import p2pfed
from p2pfed.learning.learner import AppContext, Array, Metrics, TrainContext, TrainResult


def payments(seed: int, count: int) -> tuple[Array, Array]:
    """Invent payments: amount, hour, distance, age of the account, all scaled; and which are fraud."""
    dice = np.random.default_rng(seed)
    fraud = dice.random(count) < 0.02
    x = dice.normal(size=(count, 4)) + fraud[:, None] * np.array([2.0, 0.5, 1.5, -1.5])
    return x.astype(np.float32), fraud.astype(np.float32)


def auc(score: Array, fraud: Array) -> float:
    """Return how often a fraud scores above an honest payment."""
    return float((score[fraud == 1][:, None] > score[fraud == 0]).mean())


class Bank:
    """Logistic regression in which a fraud counts as much as fifty honest payments."""

    def __init__(self, x: Array, y: Array) -> None:
        self.x, self.y = x, y
        self.test = payments(1_000, 4_000)

    def weights(self) -> list[Array]:
        return [np.zeros(4, np.float32), np.zeros(1, np.float32)]

    def train(self, weights: list[Array], context: TrainContext) -> TrainResult:
        slope, offset = weights
        weight = np.where(self.y == 1, 49, 1).astype(np.float32)
        for _ in range(5):
            error = weight * (1 / (1 + np.exp(-(self.x @ slope + offset))) - self.y) / weight.sum()
            slope -= error @ self.x
            offset -= error.sum()
        return TrainResult([slope, offset], examples=len(self.x))

    def evaluate(self, weights: list[Array], context: TrainContext) -> Metrics:
        x, fraud = self.test
        return {"auc": auc(x @ weights[0] + weights[1], fraud)}


def learner(context: AppContext) -> Bank:
    """Build one bank's learner from payments of its own."""
    return Bank(*payments(context.index, 1_000))


if __name__ == "__main__":
    print(p2pfed.simulate(learner, peers=7, byzantine={"sign_flip:scale=4": 2}, heights=6))
