"""A learner is held to its contract, and what it may leave out has a default."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from p2pfed.errors import LocalError
from p2pfed.learning.learner import (
    AppContext,
    Array,
    LearnerError,
    Metrics,
    TrainContext,
    TrainResult,
    initial_seed,
    train_context,
)
from p2pfed.learning.session import METRICS_MAX, Session, checked_metrics
from p2pfed.types.model import ArraySpec, Manifest

VIEW = np.zeros(2, np.float32)


class Plain:
    """Adds one to each weight, and remembers the turns that it was asked for."""

    def __init__(self) -> None:
        self.turns: list[TrainContext] = []

    def weights(self) -> list[Array]:
        return [np.array([1.0, 2.0], np.float32)]

    def train(self, weights: list[Array], context: TrainContext) -> TrainResult:
        self.turns.append(context)
        weights[0] += 1
        return TrainResult(weights, 3)

    def evaluate(self, weights: list[Array], context: TrainContext) -> Metrics:
        return {"sum": weights[0].sum()}


class Named(Plain):
    evaluation_root: Any = bytes(range(32))
    arrays: Any = Manifest((ArraySpec("w", (2,), "float32", "statistic", True),))

    def manifest(self) -> Any:
        return self.arrays


def test_a_learner_that_changes_its_arrays_in_place_does_not_touch_the_view() -> None:
    session = Session(Plain(), AppContext())
    view = np.zeros(2, np.float32)
    assert session.train(view, 1, 0).delta.tolist() == [1, 1]
    assert view.tolist() == [0, 0]
    assert session.initial.tolist() == [1, 2]


def test_the_turn_reaches_the_learner_with_dice_of_its_own() -> None:
    seeds = set()
    for app in (AppContext(0, 7, seed=1), AppContext(1, 7, seed=1), AppContext(0, 7, seed=2)):
        learner = Plain()
        session = Session(learner, app)
        for height in (1, 2):
            session.train(VIEW, height, height - 1)
        assert [(turn.height, turn.train_index) for turn in learner.turns] == [(1, 0), (2, 1)]
        seeds |= {turn.seed for turn in learner.turns}
    assert len(seeds) == 6
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert train_context(AppContext(3, 7, seed=5), 9, 2) == train_context(AppContext(3, 8, "x", 5), 9, 2)


def test_all_peers_of_a_seed_start_from_the_same_weights() -> None:
    assert initial_seed(AppContext(0, 7, seed=4)) == initial_seed(AppContext(6, 7, seed=4))
    assert initial_seed(AppContext(seed=4)) != initial_seed(AppContext(seed=5))


def test_a_learner_may_name_its_arrays_and_its_evaluation_set() -> None:
    session = Session(Named(), AppContext())
    assert session.manifest == Named.arrays
    assert session.evaluation_root == bytes(range(32))


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("evaluation_root", b"short", "must be 32 bytes"),
        ("evaluation_root", "text" * 8, "must be 32 bytes"),
        ("arrays", [1], "manifest\\(\\) returned list"),
        ("arrays", Manifest((ArraySpec("w", (3,), "float32", "trained", False),)), "shape"),
        ("arrays", Manifest((ArraySpec("w", (1,), "float32", "trained", False),) * 2), "same name"),
        (
            "arrays",
            Manifest((ArraySpec("w" * 257, (2,), "float32", "trained", False),)),
            "genesis can't",
        ),
        ("arrays", Manifest((ArraySpec("w", (2,), "bfloat16", "trained", False),)), "genesis can't"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_offer_is_refused(name: str, value: object, reason: str) -> None:
    learner = Named()
    setattr(learner, name, value)
    with pytest.raises(LocalError, match=reason):
        Session(learner, AppContext())


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros(3, np.int64), "the model has 0 elements"),
        (np.zeros((1,) * 9), "genesis can't hold these arrays"),
    ],
)
def test_arrays_that_genesis_can_not_hold_are_refused(array: Array, reason: str) -> None:
    learner = Plain()
    learner.weights = lambda: [array]  # type: ignore[method-assign]
    with pytest.raises(LearnerError, match=reason):
        Session(learner, AppContext())


def test_figures_become_plain_numbers_and_what_is_not_finite_is_left_out() -> None:
    left_out = {"nan": float("nan"), "infinity": np.float32("inf"), "huge": 10**400}
    plain = checked_metrics({"a": np.float32(0.5), "b": np.int64(3), "c": True, "f": 2**60} | left_out)
    assert plain == {"a": 0.5, "b": 3, "c": 1, "f": float(2**60)}
    assert [type(value) for value in plain.values()] == [float, int, int, float]


@pytest.mark.parametrize(
    "metrics",
    [None, [("a", 1)], {1: 1}, {"": 1}, {"a": "1"}, {"a": None}, {"a": np.zeros(2)}, {"a": 1j},
     {str(number): 1 for number in range(METRICS_MAX + 1)}],
)  # fmt: skip
def test_figures_that_are_none_are_refused(metrics: object) -> None:
    with pytest.raises(LearnerError):
        checked_metrics(metrics)


def test_a_scalar_array_and_a_scalar_that_numpy_gave_back_are_one() -> None:
    class Scalar(Plain):
        def weights(self) -> list[Array]:
            return [np.zeros((), np.float32)]

        def train(self, weights: list[Array], context: TrainContext) -> TrainResult:
            return TrainResult([weights[0] + np.float32(1)], 1)

    session = Session(Scalar(), AppContext())
    assert session.train(np.zeros(1, np.float32), 1, 0).delta.tolist() == [1]
