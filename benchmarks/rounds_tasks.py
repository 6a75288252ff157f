"""The two tasks of `benchmarks/rounds.py`: what is trained is the same for every system that is measured.

small: an MLP 784-128-10 (101,770 parameters) on 5,000 MNIST images; rows 0-3999 are trained on, peer i of n
takes rows i::n, rows 4000-4999 are the test; one epoch a round, batch 32, learning rate 0.1.
big: 10,000,000 float32 that a training nudges, so that what is measured is the network.

`--app benchmarks/rounds_tasks.py:small` names the first as a learner of p2pfed. The setting `times` is a
folder: there `<index>.txt` gets a line a training, its start and its end in seconds since 1970. The setting
`fault` makes the last peer misbehave from half of the `heights` on: `nan` (its weights are NaN), or `kill`
(it and its processes are killed while it trains; `driver` is the process that started them all).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from measuring import children_of, parent_of

from p2pfed.learning.adapters.numpy_models import MLP, Labelled, cross_entropy
from p2pfed.learning.learner import (
    ACCURACY_PUBLIC,
    AppContext,
    Array,
    Learner,
    Metrics,
    TrainContext,
    TrainResult,
    generator,
    initial_seed,
)

TRAIN_ROWS, HIDDEN, CLASSES, BATCH, RATE = 4_000, 128, 10, 32, 0.1
BIG_PARAMETERS = 10_000_000
BIG_STEP = np.float32(2.0**-10)


def small_rows(path: str, index: int, peers: int) -> tuple[Labelled, Labelled]:
    """Return the training rows of one peer and the test rows, from `mnist5k.npz`."""
    with np.load(path) as data:
        x, y = data["x"].astype(np.float32) / 255, data["y"].astype(np.int64)
    mine = slice(index, TRAIN_ROWS, peers)
    return Labelled(x[mine], y[mine]), Labelled(x[TRAIN_ROWS:], y[TRAIN_ROWS:])


class Small:
    """One peer of the task small."""

    def __init__(self, train: Labelled, test: Labelled, seed: int) -> None:
        self.model = MLP(train.x.shape[1], HIDDEN, CLASSES)
        self.rows, self.test, self.seed = train, test, seed

    def weights(self) -> list[Array]:
        return list(self.model.initial(self.seed))

    def train(self, weights: list[Array], context: TrainContext) -> TrainResult:
        order = generator(context.seed).permutation(len(self.rows.y))
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            _, gradient = self.model.gradient(weights, self.rows.x[batch], self.rows.y[batch])
            for array, slope in zip(weights, gradient, strict=True):
                array -= RATE * slope
        return TrainResult(weights, examples=len(order))

    def evaluate(self, weights: list[Array], context: TrainContext) -> Metrics:
        scores = self.model.logits(weights, self.test.x)
        loss, _ = cross_entropy(scores, self.test.y)
        return {ACCURACY_PUBLIC: float((scores.argmax(axis=1) == self.test.y).mean()), "loss": loss}


class Big:
    """One peer of the task big."""

    def __init__(self, index: int) -> None:
        self.index = index

    def weights(self) -> list[Array]:
        return [np.zeros(BIG_PARAMETERS, np.float32)]

    def train(self, weights: list[Array], context: TrainContext) -> TrainResult:
        weights[0][context.height % 1024 :: 1024] += BIG_STEP * (self.index + 1)
        weights[0] += BIG_STEP
        return TrainResult(weights, examples=1)

    def evaluate(self, weights: list[Array], context: TrainContext) -> Metrics:
        return {"first": float(weights[0][0])}


class Timed:
    """A learner that notes when each of its trainings began and ended, before and after."""

    def __init__(self, learner: Learner, notes: Path) -> None:
        self.learner, self.notes = learner, notes
        self.weights, self.evaluate = learner.weights, learner.evaluate

    def train(self, weights: list[Array], context: TrainContext) -> TrainResult:
        began = time.time()
        result = self.learner.train(weights, context)
        with self.notes.open("a", encoding="ascii") as file:
            file.write(f"{began:.6f} {time.time():.6f}\n")
        return result


class Faulty:
    """A learner that goes wrong at one height: from there on its weights are NaN, or there it is killed."""

    def __init__(self, learner: Learner, fault: str, height: int, driver: int) -> None:
        self.learner, self.fault, self.height, self.driver = learner, fault, height, driver
        self.weights, self.evaluate = learner.weights, learner.evaluate

    def train(self, weights: list[Array], context: TrainContext) -> TrainResult:
        if context.height < self.height:
            return self.learner.train(weights, context)
        if self.fault == "kill":
            kill_peer(self.driver)
        result = self.learner.train(weights, context)
        for array in result.weights:
            array.fill(np.nan)
        return result


def kill_peer(driver: int) -> None:
    """Kill all processes of the peer to which this one belongs: below `driver`, which started it."""
    root = os.getpid()
    while parent_of(root) not in (driver, 0, 1):
        root = parent_of(root)
    for pid in [*(children_of([root]) - {os.getpid()}), os.getpid()]:
        os.kill(pid, signal.SIGKILL)


def build(task: str, index: int, peers: int, params: Mapping[str, str], seed: int = 0) -> Learner:
    """Return the learner of one peer, whatever the system is; see the settings above."""
    learner: Learner = Big(index)
    if task == "small":
        learner = Small(*small_rows(params["data"], index, peers), seed)
    if params.get("fault") and index == peers - 1:
        learner = Faulty(learner, params["fault"], int(params["heights"]) // 2, int(params["driver"]))
    return Timed(learner, Path(params["times"]) / f"{index}.txt") if params.get("times") else learner


def small(context: AppContext) -> Learner:
    """Build a peer of the task small; the setting `data` is the path of mnist5k.npz."""
    return build("small", context.index, context.peers, context.params, initial_seed(context))


def big(context: AppContext) -> Learner:
    """Build a peer of the task big."""
    return build("big", context.index, context.peers, context.params)
