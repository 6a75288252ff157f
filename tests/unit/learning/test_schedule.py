"""The federated algorithms by name do what their papers say."""

from __future__ import annotations

import numpy as np
import pytest

from p2pfed.learning.adapters.numpy_models import ClassifierLearner, SoftmaxRegression
from p2pfed.learning.builtin import builtin_learner
from p2pfed.learning.learner import AppContext, TrainContext, generator
from p2pfed.learning.schedule import ALGORITHMS, Schedule, schedule_of

CONTEXT = TrainContext(1, 0, 3)


def learner(**settings: str) -> ClassifierLearner:
    return builtin_learner("digits", "softmax", AppContext(0, 7, params={"holdout": "0", **settings}))


def step_of(**settings: str) -> float:
    """Return how far one training goes."""
    trained = learner(**settings).train(learner().weights(), CONTEXT).weights
    return float(np.sqrt(sum(float((array**2).sum()) for array in trained)))


def test_what_is_not_named_is_as_the_adapter_says() -> None:
    assert schedule_of({}, epochs=3, batch=8, lr=0.5) == Schedule(3, 8, 0.5)
    given = {"epochs": "2", "batch": "0", "lr": "0.1", "steps": "9", "hidden": "4"}
    assert schedule_of(given, epochs=3, batch=8, lr=0.5) == Schedule(2, 0, 0.1, 9)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_is_known_by_its_name(algorithm: str) -> None:
    assert schedule_of({"algorithm": algorithm}, epochs=1, batch=8, lr=0.5).algorithm == algorithm


def test_fedsgd_is_one_step_on_all_rows() -> None:
    schedule = schedule_of({"algorithm": "fedsgd"}, epochs=5, batch=8, lr=0.5)
    assert [rows.tolist() for rows in schedule.batches(20, generator(0))] == [list(range(20))]
    mine = learner(algorithm="fedsgd", lr="0.5")
    start = mine.weights()
    x, y = mine._train.x, mine._train.y
    _, gradient = SoftmaxRegression(64, 10).gradient([array.copy() for array in start], x, y)
    moved = mine.train([array.copy() for array in start], CONTEXT).weights
    for after, before, slope in zip(moved, start, gradient, strict=True):
        np.testing.assert_allclose(after, before - np.float32(0.5) * slope, rtol=1e-6)


def test_fedprox_stays_nearer_to_the_agreed_model_the_stronger_it_pulls() -> None:
    free = step_of()
    assert step_of(algorithm="fedprox", mu="0") == free
    nearer = [step_of(algorithm="fedprox", mu=mu) for mu in ("0.01", "0.1", "1")]
    assert free > nearer[0] > nearer[1] > nearer[2]
    assert step_of(algorithm="fedprox") == nearer[0]
