"""The learners that ship with p2pfed, by name: data sets digits, mnist and npz, models softmax and mlp."""

from __future__ import annotations

from p2pfed.learning.adapters.numpy_models import (
    MLP,
    Classifier,
    ClassifierLearner,
    SoftmaxRegression,
)
from p2pfed.learning.datasets import Dataset, load_digits, load_mnist, load_npz
from p2pfed.learning.learner import AppContext, LearnerError, initial_seed
from p2pfed.learning.poison import (
    BACKDOOR_POISON,
    LABEL_FLIP_POISON,
    POISONS,
    BackdooredLearner,
    flipped,
    half_marked,
)
from p2pfed.learning.schedule import SETTINGS, schedule_of
from p2pfed.learning.settings import whole
from p2pfed.learning.shares import Labelled, labelled_share

_EPOCHS, _BATCH, _RATE = 5, 16, 0.2
_MNIST_EPOCHS, _MNIST_BATCH, _MNIST_RATE = 1, 32, 0.1
_DEFAULTS = {"hidden": "32", "holdout": "10", "poison": ""}
_HIDDEN_MAX, _HOLDOUT_MAX = 65_536, 1_000_000


def builtin_learner(dataset: str, model: str, context: AppContext) -> ClassifierLearner:
    """Return the learner `dataset:model` with the share of rows that `context` gives to this peer.

    Params of the app: those of `schedule.schedule_of`, `hidden`, `holdout`: every how manieth row a peer
    keeps for `acc(local)` and never learns from (0: none), and `poison`: label_flip or backdoor, for
    experiments with liars.

    Raises:
        LearnerError: Unknown name or param, a value out of range, or the data can't be read.
    """
    is_small = dataset == "digits"
    params = _params(context, _DEFAULTS if is_small else _DEFAULTS | {"hidden": "128"})
    if model not in ("mlp", "softmax"):
        raise LearnerError(f"no model {model!r} for {dataset}; there are mlp and softmax")
    schedule = schedule_of(
        params,
        epochs=_EPOCHS if is_small else _MNIST_EPOCHS,
        batch=_BATCH if is_small else _MNIST_BATCH,
        lr=_RATE if is_small else _MNIST_RATE,
    )
    if schedule.algorithm == "diloco":
        raise LearnerError(
            "the shipped numpy models know no AdamW; use fedavg with --outer nesterov, or torch or JAX"
        )
    hidden, holdout = whole(params, "hidden", 1, _HIDDEN_MAX), whole(params, "holdout", 0, _HOLDOUT_MAX)
    data = _dataset(dataset, context.data_dir)
    features = data.x_train.shape[1]
    classifier: Classifier = SoftmaxRegression(features, data.classes)
    if model == "mlp":
        classifier = MLP(features, hidden, data.classes)
    train, held_out = labelled_share(data, context, holdout)
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


def _params(context: AppContext, defaults: dict[str, str]) -> dict[str, str]:
    known = (*defaults, *SETTINGS)
    unknown = sorted(set(context.params) - set(known))
    if unknown:
        raise LearnerError(f"unknown app setting {unknown[0]!r}; there are {', '.join(sorted(known))}")
    return defaults | dict(context.params)
