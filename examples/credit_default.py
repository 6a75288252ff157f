"""For lenders that may not pool customers: who will fail to pay, though one lender lies.

The customers are synthetic, one in five defaults, and the classes overlap. Expect 0.80 of both classes
told right (balanced accuracy), with one of five lenders sending its updates the wrong way round.

python examples/credit_default.py
"""

from __future__ import annotations

import numpy as np

import p2pfed
from p2pfed.learning.learner import AppContext, Array, Metrics, TrainContext, TrainResult


def customers(seed: int, count: int) -> tuple[Array, Array]:
    """Invent customers: income, debt, late payments (scaled); and who defaults."""
    dice = np.random.default_rng(seed)
    defaults = dice.random(count) < 0.2
    x = dice.normal(size=(count, 3)) + defaults[:, None] * np.array([-1.0, 1.2, 1.5])
    return (x - [-0.2, 0.24, 0.3]).astype(np.float32), defaults.astype(np.float32)


class Lender:
    """Logistic regression in which a default counts as much as four who pay."""

    def __init__(self, index: int) -> None:
        self.x, self.y = customers(index, 500)
        self.test = customers(1_000, 2_000)

    def weights(self) -> list[Array]:
        return [np.zeros(3, np.float32), np.zeros(1, np.float32)]

    def train(self, weights: list[Array], context: TrainContext) -> TrainResult:
        slope, offset = weights
        weight = np.where(self.y == 1, 4, 1).astype(np.float32)
        for _ in range(5):
            error = weight * (1 / (1 + np.exp(-(self.x @ slope + offset))) - self.y) / weight.sum()
            slope -= error @ self.x
            offset -= error.sum()
        return TrainResult([slope, offset], examples=len(self.x))

    def evaluate(self, weights: list[Array], context: TrainContext) -> Metrics:
        x, defaults = self.test
        named = x @ weights[0] + weights[1] > 0
        return {"balanced": float((named[defaults == 1].mean() + (~named[defaults == 0]).mean()) / 2)}


def learner(context: AppContext) -> Lender:
    """Build one lender's learner."""
    return Lender(context.index)


if __name__ == "__main__":
    print(p2pfed.simulate(learner, peers=5, byzantine={"sign_flip:scale=6": 1}, heights=8))
