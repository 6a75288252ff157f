"""The learners that ship with p2pfed, by name: data sets digits, mnist and npz, models softmax and mlp."""

from __future__ import annotations

from math import isfinite

import numpy as np

from p2pfed.learning.adapters.numpy_models import (
    MLP,
    Classifier,
    ClassifierLearner,
    Labelled,
    Schedule,
    SoftmaxRegression,
)
from p2pfed.learning.datasets import Dataset, load_digits, load_mnist, load_npz
from p2pfed.learning.learner import AppContext, LearnerError, initial_seed
from p2pfed.learning.partition import Rows, partition
from p2pfed.learning.poison import (
    BACKDOOR_POISON,
    LABEL_FLIP_POISON,
    POISONS,
    BackdooredLearner,
    flipped,
    half_marked,
)

_DEFAULTS = {
    "epochs": "5",
    "batch": "16",
    "lr": "0.2",
    "hidden": "32",
    "holdout": "10",
    "steps": "0",
    "poison": "",
}
_MNIST_DEFAULTS = _DEFAULTS | {"epochs": "1", "batch": "32", "lr": "0.1", "hidden": "128"}
_EPOCHS_MAX, _BATCH_MAX, _HIDDEN_MAX, _HOLDOUT_MAX = 10_000, 1_000_000, 65_536, 1_000_000


def builtin_learner(dataset: str, model: str, context: AppContext) -> ClassifierLearner:
    """Return the learner `dataset:model` with the share of rows that `context` gives to this peer.

    Params of the app: `epochs`, `batch` (0 for all rows at once), `lr`, `hidden`, `steps`: so many batches
    instead of whole epochs (0: epochs), `holdout`: every how manieth row a peer keeps for `acc(local)` and
    never learns from (0: none), and `poison`: label_flip or backdoor, for experiments with liars.

    Raises:
        LearnerError: Unknown name or param, a value out of range, or the data can't be read.
    """
    params = _params(context, _DEFAULTS if dataset == "digits" else _MNIST_DEFAULTS)
    if model not in ("mlp", "softmax"):
        raise LearnerError(f"no model {model!r} for {dataset}; there are mlp and softmax")
    schedule = Schedule(
        epochs=_whole(params, "epochs", 1, _EPOCHS_MAX),
        batch=_whole(params, "batch", 0, _BATCH_MAX),
        learning_rate=_positive(params, "lr"),
        steps=_whole(params, "steps", 0, _EPOCHS_MAX),
    )
    hidden, holdout = _whole(params, "hidden", 1, _HIDDEN_MAX), _whole(params, "holdout", 0, _HOLDOUT_MAX)
    data = _dataset(dataset, context.data_dir)
    features = data.x_train.shape[1]
    classifier: Classifier = SoftmaxRegression(features, data.classes)
    if model == "mlp":
        classifier = MLP(features, hidden, data.classes)
    train, held_out = _own_rows(data, context, holdout)
    public = Labelled(data.features(data.x_test), data.y_test)
    poison, kind = params["poison"], ClassifierLearner
    if poison not in ("", *POISONS):
        raise LearnerError(f"poison={poison[:40]} is unknown; there are {', '.join(POISONS)}")
    if poison == LABEL_FLIP_POISON:
        train = flipped(train, data.classes)
    elif poison == BACKDOOR_POISON:
        train, kind = half_marked(train), BackdooredLearner
    return kind(classifier, train, held_out, public, schedule, initial_seed(context), data.evaluation_root)


def _dataset(name: str, data_dir: str) -> Dataset:
    if name == "digits":
        return load_digits()
    if name == "mnist":
        return load_mnist(data_dir)
    if name == "npz":
        return load_npz(data_dir)
    raise LearnerError(
        f"no data set {name!r}; there are digits, mnist and npz, or your own my_file.py:learner"
    )


def _own_rows(data: Dataset, context: AppContext, holdout: int) -> tuple[Labelled, Labelled]:
    if not 0 <= context.index < context.peers:
        raise LearnerError(f"peer {context.index} of {context.peers} has no share")
    rows = partition(data.y_train, context.peers, context.partition, context.seed)[context.index]
    kept = np.arange(len(rows)) % holdout == holdout - 1 if holdout else np.zeros(len(rows), np.bool_)

    def labelled(chosen: Rows) -> Labelled:
        return Labelled(data.features(data.x_train[chosen]), data.y_train[chosen])

    return labelled(rows[~kept]), labelled(rows[kept])


def _params(context: AppContext, defaults: dict[str, str]) -> dict[str, str]:
    unknown = sorted(set(context.params) - set(defaults))
    if unknown:
        raise LearnerError(f"unknown app setting {unknown[0]!r}; there are {', '.join(sorted(defaults))}")
    return defaults | dict(context.params)


def _whole(params: dict[str, str], name: str, low: int, high: int) -> int:
    text = params[name]
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and low <= int(text) <= high):
        raise LearnerError(f"{name}={text[:40]} must be a whole number from {low} to {high}")
    return int(text)


def _positive(params: dict[str, str], name: str) -> float:
    try:
        value = float(params[name])
    except ValueError:
        value = 0.0
    if not (isfinite(value) and value > 0):
        raise LearnerError(f"{name}={params[name][:40]} must be a number above 0")
    return value
