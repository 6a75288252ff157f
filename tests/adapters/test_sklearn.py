"""scikit-learn's estimators as learners."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs `pip install scikit-learn`, see CONTRIBUTING.md")

from sklearn.cluster import KMeans
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import (
    LogisticRegression,
    Perceptron,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.neural_network import MLPClassifier
from sklearn.tree import DecisionTreeClassifier
from support.federated import sessions, trained

import p2pfed
from p2pfed.learning.learner import AppContext, LearnerError, TrainContext

EXAMPLE = f"{Path(__file__).parents[2] / 'examples' / 'sklearn_digits.py'}:learner"
CONTEXT = TrainContext(1, 0, 5)


def app(estimator: Any, load: Any = load_digits, **options: Any) -> Any:
    x, y = load(return_X_y=True)
    x = (x - x.mean(0)) / (x.std(0) + 1e-9)
    order = np.random.default_rng(0).permutation(len(y))
    x, y, cut = x[order], y[order], len(y) * 4 // 5

    def learner(context: AppContext) -> p2pfed.SklearnLearner:
        own = p2pfed.share(x[:cut], y[:cut], context)
        return p2pfed.SklearnLearner(estimator, context, own, (x[cut:], y[cut:]), **options)

    return learner


def test_the_example_learns_the_digits() -> None:
    run = trained(sessions(EXAMPLE, 4), 6)
    assert run.metrics[-1]["acc(public)"] > 0.85


@pytest.mark.parametrize(
    "estimator",
    [
        SGDClassifier(),
        SGDClassifier(loss="log_loss"),
        Perceptron(),
        LogisticRegression(max_iter=5),
        MLPClassifier((16,), learning_rate_init=0.02),
    ],
    ids=lambda estimator: f"{type(estimator).__name__}-{getattr(estimator, 'loss', '')}",
)
@pytest.mark.parametrize(("load", "floor"), [(load_digits, 0.88), (load_breast_cancer, 0.92)])
def test_classifiers_train_together(estimator: Any, load: Any, floor: float) -> None:
    run = trained(sessions(app(estimator, load, epochs=5), 4), 8)
    assert run.metrics[-1]["acc(public)"] > floor
    assert all(np.isfinite(list(figures.values())).all() for figures in run.metrics)


def test_a_peer_without_some_labels_knows_them_all_the_same() -> None:
    trainers = sessions(app(SGDClassifier()), 5, partition="label:2")
    assert {session.manifest.arrays[0].shape for session in trainers} == {(10, 64)}
    with pytest.raises(LearnerError, match="no rows of some labels, and LogisticRegression"):
        sessions(app(LogisticRegression()), 5, partition="label:2")


def test_a_regressor_is_measured_by_r2() -> None:
    dice = np.random.default_rng(1)
    x = dice.normal(size=(200, 3))
    y = x @ [1.0, -2.0, 0.5] + 3

    def learner(context: AppContext) -> p2pfed.SklearnLearner:
        return p2pfed.SklearnLearner(SGDRegressor(), context, p2pfed.share(x, y, context), (x, y), epochs=5)

    assert trained(sessions(learner, 4), 6).metrics[-1]["r2"] > 0.97


def test_a_training_starts_from_the_agreed_model_and_repeats() -> None:
    mine = sessions(app(SGDClassifier()), 4)[0]._learner
    mine.train(mine.weights(), CONTEXT)
    zeros = [np.zeros_like(array) for array in mine.weights()]
    other = sessions(app(SGDClassifier()), 4)[0]._learner
    first = other.train([array.copy() for array in zeros], CONTEXT).weights
    again = (
        sessions(app(SGDClassifier()), 4)[0]
        ._learner.train([array.copy() for array in zeros], CONTEXT)
        .weights
    )
    assert all((one == two).all() for one, two in zip(first, again, strict=True))
    mine.load(first)
    assert (mine.weights()[0] == first[0]).all()


@pytest.mark.parametrize(
    ("estimator", "sentence"),
    [
        (KMeans(), "KMeans has neither partial_fit nor warm_start"),
        (DecisionTreeClassifier(), "DecisionTreeClassifier has neither partial_fit nor warm_start"),
        (SGDClassifier(average=True), "average keeps two models side by side"),
    ],
)
def test_what_can_not_go_on_from_given_arrays_is_refused(estimator: Any, sentence: str) -> None:
    with pytest.raises(LearnerError, match=sentence):
        sessions(app(estimator), 4)


def test_sklearn_takes_its_own_steps() -> None:
    with pytest.raises(LearnerError, match="there is no fedprox; use fedavg"):
        sessions(app(SGDClassifier()), 4, params={"algorithm": "fedprox"})
