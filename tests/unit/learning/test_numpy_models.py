"""The shipped classifiers: their gradients are those of their loss, and training repeats bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from p2pfed.learning.adapters.numpy_models import (
    EVALUATION_ROWS,
    MLP,
    Classifier,
    ClassifierLearner,
    Matrix,
    SoftmaxRegression,
    cross_entropy,
)
from p2pfed.learning.datasets import Labels
from p2pfed.learning.learner import LearnerError, TrainContext, generator
from p2pfed.learning.schedule import Schedule
from p2pfed.learning.shares import Labelled
from p2pfed.primitives.merkle import EMPTY_ROOT

MODELS = (SoftmaxRegression(5, 3), MLP(5, 4, 3))
CONTEXT = TrainContext(1, 0, 11)
NONE = Labelled(np.empty((0, 5), np.float32), np.empty(0, np.int64))


def rows(count: int, seed: int = 0) -> Labelled:
    dice = generator(seed)
    return Labelled(dice.standard_normal((count, 5)).astype(np.float32), dice.integers(0, 3, count))


def random_weights(model: Classifier) -> list[Matrix]:
    dice = generator(5)
    return [dice.standard_normal(array.shape) for array in model.initial(0)]  # type: ignore[misc]


def learner(
    model: Classifier, train: Labelled, schedule: Schedule, held_out: Labelled = NONE, public: Labelled = NONE
) -> ClassifierLearner:
    return ClassifierLearner(model, train, held_out, public, schedule, 7, EMPTY_ROOT)


@pytest.mark.parametrize("model", MODELS)
def test_gradients_are_those_of_finite_differences(model: Classifier) -> None:
    data = rows(8)
    weights = random_weights(model)  # float64, so that a difference of 1e-6 is exact enough.
    x = data.x.astype(np.float64)
    _, gradients = model.gradient(weights, x, data.y)  # type: ignore[arg-type]
    for array, gradient in zip(weights, gradients, strict=True):
        assert gradient.shape == array.shape
        for place in np.ndindex(array.shape):
            kept = array[place]
            losses = []
            for step in (1e-6, -1e-6):
                array[place] = kept + step
                losses.append(model.gradient(weights, x, data.y)[0])  # type: ignore[arg-type]
            array[place] = kept
            assert gradient[place] == pytest.approx((losses[0] - losses[1]) / 2e-6, abs=1e-7)


def test_cross_entropy_of_huge_scores_stays_finite() -> None:
    loss, error = cross_entropy(np.array([[1e30, 0], [-1e30, 0]], np.float32), np.array([0, 1]))
    assert loss == 0.0
    assert error.tolist() == [[0, 0], [0, 0]]


def test_cross_entropy_of_equal_scores_is_the_logarithm_of_the_classes() -> None:
    assert cross_entropy(np.zeros((4, 10), np.float32), np.arange(4))[0] == pytest.approx(np.log(10))


@pytest.mark.parametrize("model", MODELS)
def test_training_repeats_bit_for_bit_and_its_seed_matters(model: Classifier) -> None:
    mine = learner(model, rows(40), Schedule(3, 8, 0.1))

    def trained(seed: int) -> bytes:
        return b"".join(a.tobytes() for a in mine.train(mine.weights(), TrainContext(1, 0, seed)).weights)

    assert trained(1) == trained(1)
    assert trained(1) != trained(2)


@pytest.mark.parametrize("model", MODELS)
def test_one_full_batch_epoch_is_one_gradient_step(model: Classifier) -> None:
    data = rows(40)
    mine = learner(model, data, Schedule(1, 0, 0.5))
    loss, gradients = model.gradient(model.initial(7), data.x, data.y)
    result = mine.train(mine.weights(), CONTEXT)
    assert result.examples == 40
    assert result.metrics == {"train_loss": pytest.approx(loss)}
    for after, before, gradient in zip(result.weights, model.initial(7), gradients, strict=True):
        assert after.dtype == np.float32
        np.testing.assert_array_equal(after, before - np.float32(0.5) * gradient)


@pytest.mark.parametrize("model", MODELS)
def test_an_epoch_visits_every_row_once(model: Classifier) -> None:
    class Counting:
        def __init__(self) -> None:
            self.seen: list[float] = []

        def __getattr__(self, name: str) -> object:
            return getattr(model, name)

        def gradient(self, weights: list[Matrix], x: Matrix, y: Labels) -> tuple[float, list[Matrix]]:
            self.seen += x[:, 0].tolist()
            assert len(x) == len(y) <= 8
            return model.gradient(weights, x, y)

    data, counting = rows(43), Counting()
    learner(counting, data, Schedule(2, 8, 0.1)).train(list(model.initial(0)), CONTEXT)  # type: ignore[arg-type]
    first, second = counting.seen[:43], counting.seen[43:]
    assert sorted(first) == sorted(second) == sorted(data.x[:, 0].tolist())
    assert first != second


def test_training_lowers_the_loss() -> None:
    data = rows(60)
    data.y[:] = (data.x[:, 0] > 0).astype(np.int64)
    mine = learner(MLP(5, 8, 3), data, Schedule(20, 8, 0.2), public=data)
    before = mine.evaluate(mine.weights(), CONTEXT)
    after = mine.evaluate(mine.train(mine.weights(), CONTEXT).weights, CONTEXT)
    assert after["loss"] < before["loss"] / 4
    assert after["acc(public)"] > 0.95


def test_evaluation_counts_all_rows_over_several_passes() -> None:
    data = rows(2 * EVALUATION_ROWS + 1)
    model = SoftmaxRegression(5, 3)
    weights = [array.astype(np.float32) for array in random_weights(model)]
    hits = (model.logits(weights, data.x).argmax(axis=1) == data.y).mean()
    figures = learner(model, NONE, Schedule(1, 1, 0.1), held_out=data, public=data).evaluate(
        list(weights), CONTEXT
    )
    assert figures["acc(public)"] == figures["acc(local)"] == pytest.approx(hits)
    assert figures["loss"] == pytest.approx(model.gradient(weights, data.x, data.y)[0], rel=1e-5)


def test_absent_rows_give_no_figure_and_no_update() -> None:
    mine = learner(MODELS[0], NONE, Schedule(1, 1, 0.1))
    assert mine.evaluate(mine.weights(), CONTEXT) == {}
    with pytest.raises(LearnerError, match="no rows"):
        mine.train(mine.weights(), CONTEXT)


def test_arrays_have_names_and_initial_weights_follow_the_seed() -> None:
    mine = learner(MLP(5, 4, 3), NONE, Schedule(1, 1, 0.1))
    assert [(a.name, a.shape) for a in mine.manifest().arrays] == [
        ("hidden.weight", (5, 4)), ("hidden.bias", (4,)), ("output.weight", (4, 3)), ("output.bias", (3,)),
    ]  # fmt: skip
    first, second = MLP(64, 32, 10).initial(1), MLP(64, 32, 10).initial(2)
    assert not np.array_equal(first[0], second[0])
    assert float(first[0].std()) == pytest.approx(np.sqrt(2 / 64), rel=0.1)
    assert float(first[2].std()) == pytest.approx(np.sqrt(2 / 32), rel=0.2)
