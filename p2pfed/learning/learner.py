"""The interface between p2pfed and a model of any library: three methods and the plain data they exchange."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from p2pfed.errors import LocalError
from p2pfed.primitives.digest import tagged

Array = NDArray[Any]
Metrics = dict[str, float | int]

ACCURACY_PUBLIC = "acc(public)"  # On the evaluation set that genesis names; every peer has the same.
LOSS_PUBLIC = "loss"
BACKDOOR = "backdoor"  # The share of marked images that follow the mark; measured by who poisons alone.
SCORE = "score"  # What the quality gate goes by before any accuracy: from 0 to 1, higher is better.
CLASS_PREFIX = "class."  # class.3 is the share of class 3 that is named right; for the gate alone.
ACCURACY_LOCAL = "acc(local)"  # On this peer's own hold-out.


class LearnerError(LocalError):
    """The learner or its data can't be used; the text is one sentence for the person who wrote it."""


class AppContext(Struct, frozen=True):
    """What a factory `learner(context)` is told about the peer that it works for.

    index: This peer's place among the trainers, `0 <= index < peers`.
    partition: How shipped data is split: "iid", "dirichlet:1.0", "label:2" or "gamma:0.5".
    data_dir: A folder with data files, "" for none.
    params: Settings of the app such as `{"lr": "0.2"}`; values are texts.
    """

    index: int = 0
    peers: int = 1
    partition: str = "iid"
    seed: int = 0
    data_dir: str = ""
    params: Mapping[str, str] = field(default_factory=dict)


class TrainContext(Struct, frozen=True):
    """The turn that a call belongs to.

    height: The block that the update is meant for.
    train_index: How many heights carried a new model before this one.
    seed: Dice for this peer and height, 0 <= seed < 2^63; the same in a repeated run.
    """

    height: int
    train_index: int
    seed: int


class TrainResult(Struct, frozen=True):
    """What training gave: arrays shaped as those of `weights()`, how many examples they saw, any figures."""

    weights: list[Array]
    examples: int
    metrics: Metrics = field(default_factory=dict)


class Learner(Protocol):
    """A model and its data. It runs in a process of its own, so it may be slow, large or wrong.

    It may also offer `manifest() -> p2pfed.types.model.Manifest`, which names its arrays and marks
    statistics, and `evaluation_root: bytes`, the digest of the public evaluation set that genesis binds.
    """

    def weights(self) -> list[Array]:
        """Return the initial arrays; asked for once, when the network is founded or the worker starts."""

    def train(self, weights: list[Array], context: TrainContext) -> TrainResult:
        """Train from `weights` on local data; the arrays are the learner's to change."""

    def evaluate(self, weights: list[Array], context: TrainContext) -> Metrics:
        """Return figures such as accuracy and loss of `weights`."""


def train_context(app: AppContext, height: int, train_index: int) -> TrainContext:
    """Return the context of a turn; its seed depends on the app's seed, the peer's index and the height."""
    digest = tagged("train-seed", f"{app.seed}/{app.index}/{height}".encode("ascii"))
    return TrainContext(height, train_index, int.from_bytes(digest[:8], "big") >> 1)


def initial_seed(app: AppContext) -> int:
    """Return the seed of the initial weights: the same for all peers of one app seed."""
    return int.from_bytes(tagged("initial-seed", str(app.seed).encode("ascii"))[:8], "big") >> 1


def generator(seed: int) -> np.random.Generator:
    """Return numpy's dice for training: they repeat on one machine and numpy, as all training does."""
    return np.random.Generator(np.random.PCG64(seed))
