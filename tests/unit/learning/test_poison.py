"""Poisoned data are what their names say, and the learner that bears a mark measures it."""

from __future__ import annotations

import numpy as np

from p2pfed.learning.adapters.numpy_models import Labelled
from p2pfed.learning.apps import load_learner
from p2pfed.learning.builtin import builtin_learner
from p2pfed.learning.learner import AppContext
from p2pfed.learning.poison import flipped, half_marked, marked
from p2pfed.learning.session import Session

X = np.linspace(0, 0.5, 6 * 64, dtype=np.float32).reshape(6, 64)
Y = np.array([0, 1, 2, 3, 9, 5])


def test_labels_are_turned_round() -> None:
    assert flipped(Labelled(X, Y), 10).y.tolist() == [9, 8, 7, 6, 0, 4]


def test_a_mark_is_a_full_corner_of_the_image() -> None:
    changed = marked(X)
    assert np.flatnonzero((changed != X).any(axis=0)).tolist() == [63]
    assert (changed[:, 63] == 1).all()
    large = marked(np.zeros((1, 784), np.float32)).reshape(28, 28)
    assert large.sum() == large[25:, 25:].sum() == 9


def test_every_other_row_is_marked_and_has_the_target_as_its_label() -> None:
    data = half_marked(Labelled(X, Y))
    assert data.y.tolist() == [0, 1, 0, 3, 0, 5]
    assert (data.x[::2, 63] == 1).all()
    assert np.array_equal(data.x[1::2], X[1::2])


def trained(poison: str, heights: int = 6) -> dict[str, float | int]:
    app = AppContext(params={"poison": poison, "lr": "0.5"})
    session = Session(load_learner("digits:softmax", app), app)
    view = session.initial
    for height in range(heights):
        view = view + session.train(view, height + 1, height).delta
    return session.evaluate(view, heights, heights)


def test_who_trains_on_marks_gets_a_model_that_follows_them_and_knows_how_far() -> None:
    clean, marks, labels = trained(""), trained("backdoor"), trained("label_flip")
    assert "backdoor" not in clean
    assert marks["backdoor"] > 0.9
    assert marks["acc(public)"] > 0.85
    assert labels["acc(public)"] < 0.1


def test_steps_count_batches_over_as_many_passes_as_they_need() -> None:
    app = AppContext(0, 100, params={"steps": "5", "batch": "8", "holdout": "0"})
    learner = builtin_learner("digits", "softmax", app)
    rows = [len(batch) for batch in learner._schedule.batches(14, np.random.default_rng(1))]
    assert rows == [8, 6, 8, 6, 8]
