"""Two classifiers in plain numpy, trained by SGD: softmax regression and an MLP with one hidden layer."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from p2pfed.learning.datasets import Features, Labels
from p2pfed.learning.learner import (
    ACCURACY_LOCAL,
    ACCURACY_PUBLIC,
    CLASS_PREFIX,
    LOSS_PUBLIC,
    Array,
    LearnerError,
    Metrics,
    TrainContext,
    TrainResult,
    generator,
)
from p2pfed.learning.schedule import Schedule
from p2pfed.learning.shares import Labelled
from p2pfed.types.model import ArraySpec, Manifest
from p2pfed.types.params import QUALITY_CLASSES_MAX

Matrix = NDArray[np.float32]

EVALUATION_ROWS = 1024  # Rows of one forward pass: the logits and hidden values stay in the cache.


class Classifier(Protocol):
    """A model without data: float32 arrays, their gradient, and the logits they give."""

    def initial(self, seed: int) -> list[Matrix]:
        """Return initial arrays."""

    def names(self) -> tuple[str, ...]:
        """Return the name of each array."""

    def logits(self, weights: list[Matrix], x: Features) -> Matrix:
        """Return scores, shape `(rows, classes)`."""

    def gradient(self, weights: list[Matrix], x: Features, y: Labels) -> tuple[float, list[Matrix]]:
        """Return the mean cross-entropy of the rows, and its gradient for each array."""


class SoftmaxRegression(Struct, frozen=True):
    """`x W + b`; starts at zero, for the loss is convex."""

    features: int
    classes: int

    def initial(self, seed: int) -> list[Matrix]:  # noqa: ARG002 - the interface of every classifier
        return [np.zeros((self.features, self.classes), np.float32), np.zeros(self.classes, np.float32)]

    def names(self) -> tuple[str, ...]:
        return ("weight", "bias")

    def logits(self, weights: list[Matrix], x: Features) -> Matrix:
        weight, bias = weights
        return x @ weight + bias

    def gradient(self, weights: list[Matrix], x: Features, y: Labels) -> tuple[float, list[Matrix]]:
        loss, error = cross_entropy(self.logits(weights, x), y)
        return loss, [x.T @ error, error.sum(axis=0)]


class MLP(Struct, frozen=True):
    """`relu(x W1 + b1) W2 + b2`, started as He et al. 2015 (arXiv:1502.01852) do for ReLU."""

    features: int
    hidden: int
    classes: int

    def initial(self, seed: int) -> list[Matrix]:
        dice = generator(seed)
        first = dice.standard_normal((self.features, self.hidden)) * np.sqrt(2 / self.features)
        second = dice.standard_normal((self.hidden, self.classes)) * np.sqrt(2 / self.hidden)
        return [
            first.astype(np.float32), np.zeros(self.hidden, np.float32),
            second.astype(np.float32), np.zeros(self.classes, np.float32),
        ]  # fmt: skip

    def names(self) -> tuple[str, ...]:
        return ("hidden.weight", "hidden.bias", "output.weight", "output.bias")

    def logits(self, weights: list[Matrix], x: Features) -> Matrix:
        first, first_bias, second, second_bias = weights
        scores: Matrix = np.maximum(x @ first + first_bias, 0) @ second + second_bias
        return scores

    def gradient(self, weights: list[Matrix], x: Features, y: Labels) -> tuple[float, list[Matrix]]:
        first, first_bias, second, second_bias = weights
        hidden = np.maximum(x @ first + first_bias, 0)
        loss, error = cross_entropy(hidden @ second + second_bias, y)
        back = (error @ second.T) * (hidden > 0)
        return loss, [x.T @ back, back.sum(axis=0), hidden.T @ error, error.sum(axis=0)]


def cross_entropy(logits: Matrix, y: Labels) -> tuple[float, Matrix]:
    """Return the mean cross-entropy of `logits`, shape `(rows, classes)`, and its gradient for them."""
    rows = np.arange(len(y))
    shifted = logits - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    totals = exponentials.sum(axis=1, keepdims=True)
    loss = float(np.mean(np.log(totals[:, 0]) - shifted[rows, y]))
    error = exponentials / totals
    error[rows, y] -= 1
    return loss, error / len(y)


class ClassifierLearner:
    """A classifier with one peer's rows: a Learner.

    Args:
        model: Which classifier.
        train: The rows to learn from.
        held_out: Rows of this peer that it never learns from; may be empty.
        public: The evaluation set that every peer has; may be empty.
        schedule: Epochs, batch and learning rate.
        seed: Of the initial weights.
        evaluation_root: Digest of the public set, for genesis.
    """

    def __init__(
        self, model: Classifier, train: Labelled, held_out: Labelled, public: Labelled,
        schedule: Schedule, seed: int, evaluation_root: bytes,
    ) -> None:  # fmt: skip
        self.evaluation_root = evaluation_root
        self._model, self._schedule, self._seed = model, schedule, seed
        self._train, self._held_out, self._public = train, held_out, public

    def weights(self) -> list[Array]:
        return list(self._model.initial(self._seed))

    def manifest(self) -> Manifest:
        """Return the arrays by name."""
        arrays = zip(self._model.names(), self.weights(), strict=True)
        return Manifest(
            tuple(ArraySpec(name, array.shape, "float32", "trained", False) for name, array in arrays)
        )

    def train(self, weights: list[Array], context: TrainContext) -> TrainResult:
        """Run SGD over the rows in an order that the context's seed decides: a run repeats bit for bit."""
        x, y = self._train.x, self._train.y
        rows = len(y)
        if rows == 0:
            raise LearnerError("this peer has no rows to train on")
        dice = generator(context.seed)
        rate, pull = np.float32(self._schedule.learning_rate), np.float32(self._schedule.proximal)
        agreed = [array.copy() for array in weights] if pull else weights
        loss_sum, seen = 0.0, 0
        for chosen in self._schedule.batches(rows, dice):
            loss, gradients = self._model.gradient(weights, x[chosen], y[chosen])
            loss_sum += loss * len(chosen)
            seen += len(chosen)
            for array, start, gradient in zip(weights, agreed, gradients, strict=True):
                array -= rate * (gradient + pull * (array - start) if pull else gradient)
        return TrainResult(weights, rows, {"train_loss": loss_sum / seen})

    def evaluate(self, weights: list[Array], context: TrainContext) -> Metrics:  # noqa: ARG002 - no dice here
        """Return accuracy and loss on the public set, and accuracy on this peer's own held-out rows."""
        metrics: Metrics = {}
        if len(self._public.y):
            metrics[ACCURACY_PUBLIC], metrics[LOSS_PUBLIC] = self._score(weights, self._public)
        if len(self._held_out.y):
            metrics[ACCURACY_LOCAL], _ = self._score(weights, self._held_out)
            metrics |= self._by_class(weights, self._held_out)
        return metrics

    def _by_class(self, weights: list[Matrix], data: Labelled) -> Metrics:
        """Return the share of each class that is named right: what the quality gate watches."""
        named = np.concatenate(
            [
                self._model.logits(weights, data.x[start : start + EVALUATION_ROWS]).argmax(axis=1)
                for start in range(0, len(data.y), EVALUATION_ROWS)
            ]
        )
        kinds = np.unique(data.y)[:QUALITY_CLASSES_MAX]
        return {f"{CLASS_PREFIX}{kind}": float((named[data.y == kind] == kind).mean()) for kind in kinds}

    def _score(self, weights: list[Matrix], data: Labelled) -> tuple[float, float]:
        hits, loss_sum = 0, 0.0
        for start in range(0, len(data.y), EVALUATION_ROWS):
            x, y = data.x[start : start + EVALUATION_ROWS], data.y[start : start + EVALUATION_ROWS]
            logits = self._model.logits(weights, x)
            hits += int(np.count_nonzero(logits.argmax(axis=1) == y))
            loss_sum += cross_entropy(logits, y)[0] * len(y)
        return hits / len(data.y), loss_sum / len(data.y)
