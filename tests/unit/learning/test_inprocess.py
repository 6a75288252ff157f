"""Founding and training in process: exact federated averaging, and the accuracy that the product promises."""

from __future__ import annotations

import numpy as np
import pytest

from p2pfed.errors import LocalError
from p2pfed.learning.adapters.numpy_models import ClassifierLearner, SoftmaxRegression
from p2pfed.learning.apps import load_learner
from p2pfed.learning.builtin import builtin_learner
from p2pfed.learning.client import WorkerClient
from p2pfed.learning.datasets import load_digits
from p2pfed.learning.founding import found_in_process, found_model
from p2pfed.learning.inprocess import InProcessRun, Lie, Turn, train_in_process
from p2pfed.learning.learner import AppContext, Array, LearnerError, TrainContext, TrainResult
from p2pfed.learning.partition import partition
from p2pfed.learning.session import Session
from p2pfed.privacy.mechanism import model_view
from p2pfed.types.model import Int16Vector

PEERS, HEIGHTS = 7, 20
SEEDS = range(3)  # Five in docs/qa/accuracy.md, over the real network.
DEFAULT = "clip_nnm_trimmed_mean"


def sign_flip(turn: Turn) -> list[Int16Vector]:
    return [np.clip(-4 * own.astype(np.int32), -32767, 32767).astype(np.int16) for own in turn.own]


def demo_sessions(seed: int, spec: str = "digits:mlp", **params: str) -> list[Session]:
    apps = [AppContext(i, PEERS, "dirichlet:1.0", seed, params=params) for i in range(PEERS)]
    return [Session(load_learner(spec, app), app) for app in apps]


def demo(
    seed: int,
    rule: str = DEFAULT,
    lie: Lie | None = None,
    heights: int = HEIGHTS,
    liars: tuple[int, ...] = (5, 6),
) -> InProcessRun:
    sessions = demo_sessions(seed)
    model = found_in_process(sessions[0], 12).model
    return train_in_process(
        sessions, model, heights=heights, rule=rule, faulty_max=2, update_bits=12, examples_cap=4,
        liars=liars, lie=lie,
    )  # fmt: skip


def accuracy(run: InProcessRun) -> float:
    return float(run.metrics[-1]["acc(public)"])


def test_clean_digits_reach_95_percent_and_the_default_rule_holds_against_a_sign_flip() -> None:
    clean = [accuracy(demo(seed)) for seed in SEEDS]
    flipped = [accuracy(demo(seed, lie=sign_flip)) for seed in SEEDS]
    print("clean", clean, "sign_flip", flipped)
    assert np.mean(clean) >= 0.95
    assert np.mean(flipped) >= np.mean(clean) - 0.04


def test_the_plain_mean_ends_near_chance_under_the_same_sign_flip() -> None:
    assert accuracy(demo(0, "mean", sign_flip)) < 0.2


def test_a_rule_that_needs_the_height_before_takes_over_from_the_second_on() -> None:
    sessions = demo_sessions(1, "digits:softmax", epochs="1")
    founded = found_in_process(sessions[0], 12).model
    used: list[InProcessRun] = [
        train_in_process(
            sessions, founded, heights=heights, rule=rule, later_rules=("median",), faulty_max=2,
            update_bits=12, examples_cap=4,
        )
        for heights in (1, 2)
        for rule in ("cosine_to_previous", "median")
    ]  # fmt: skip
    assert used[0].model.root == used[1].model.root
    assert used[2].model.root != used[3].model.root


def test_a_training_repeats_bit_for_bit() -> None:
    first, second, other = demo(1, heights=2), demo(1, heights=2), demo(2, heights=2)
    assert first.model.root == second.model.root
    assert first.metrics == second.metrics
    assert first.model.root != other.model.root


def test_lies_replace_the_updates_of_liars_alone() -> None:
    heard: list[tuple[int, int, float]] = []

    def zero(turn: Turn) -> list[Int16Vector]:
        assert (turn.before is None) == (turn.height == 1)
        heard.extend((turn.height, len(turn.honest), float(np.abs(own).max())) for own in turn.own)
        return [np.zeros_like(own) for own in turn.own]

    everyone = tuple(range(PEERS))
    still = demo(0, "mean", zero, heights=2, liars=everyone)
    start = found_in_process(demo_sessions(0)[0], 12).model
    np.testing.assert_array_equal(still.model.weights, start.weights)
    assert [(height, honest) for height, honest, _ in heard] == [(1, 0)] * 7 + [(2, 0)] * 7
    assert all(largest > 0 for _, _, largest in heard)
    heard.clear()
    moved = demo(0, "mean", zero, heights=1, liars=(2,))
    assert [(height, honest) for height, honest, _ in heard] == [(1, 6)]
    assert not np.array_equal(moved.model.weights, start.weights)


def test_turns_are_numbered_as_in_the_network() -> None:
    class Recording(ClassifierLearner):
        def train(self, weights: list[Array], context: TrainContext) -> TrainResult:
            turns.append((context.height, context.train_index))
            return super().train(weights, context)

    turns: list[tuple[int, int]] = []
    app = AppContext(params={"epochs": "1", "batch": "0"})
    learner = builtin_learner("digits", "softmax", app)
    learner.__class__ = Recording
    session = Session(learner, app)
    model = found_in_process(session, 12).model
    train_in_process([session], model, heights=3, rule="mean", faulty_max=0, update_bits=12, examples_cap=0)
    # The founding, then each height with the number of models before it.
    assert turns == [(0, 0), (1, 0), (2, 1), (3, 2)]


def test_a_height_of_the_mean_is_federated_averaging_up_to_quantisation() -> None:
    sessions = demo_sessions(3, "digits:softmax", epochs="1", batch="0", lr="0.5", holdout="0")
    founded = found_in_process(sessions[0], 12)
    groups = founded.manifest.groups
    before = model_view(founded.model, groups).astype(np.float64)
    run = train_in_process(
        sessions, founded.model, heights=1, rule="mean", faulty_max=0, update_bits=12, examples_cap=0
    )
    after = model_view(run.model, groups).astype(np.float64)

    digits, softmax = load_digits(), SoftmaxRegression(64, 10)
    weights = [before[:640].reshape(64, 10), before[640:]]
    rows = partition(digits.y_train, PEERS, "dirichlet:1.0", 3)
    gradient = np.zeros(650)
    for own in rows:
        x, y = digits.x_train[own] / 16, digits.y_train[own]
        _, parts = softmax.gradient(weights, x, y)  # type: ignore[arg-type]
        gradient += len(own) / 1400 * np.concatenate([part.ravel() for part in parts])
    expected = before - 0.5 * gradient
    for index, group in enumerate(groups):
        # Half a unit for each rounded update, half a model unit for the division, float32 noise of training.
        update_unit = 2.0 ** -int(founded.model.update_exponents[index])
        model_unit = 2.0 ** -int(founded.model.model_exponents[index])
        bound = (update_unit + model_unit) / 2 + 1e-6
        assert np.abs(after - expected)[group.slice].max() <= bound
    assert np.abs(after - before).max() > 100 * bound


async def test_a_worker_founds_and_trains_the_same_bits_as_this_process() -> None:
    (app, session) = (AppContext(0, PEERS, "dirichlet:1.0", 1), demo_sessions(1)[0])
    worker = WorkerClient("digits:mlp", app)
    try:
        remote, local = await found_model(worker, 12), found_in_process(session, 12)
        assert remote.manifest == local.manifest
        assert remote.evaluation_root == local.evaluation_root == load_digits().evaluation_root
        assert (remote.model.root, remote.model.exponents_root) == (
            local.model.root,
            local.model.exponents_root,
        )
        view = model_view(local.model, local.manifest.groups)
        trained = await worker.train(view, height=3, train_index=2)
        expected = session.train(view, 3, 2)
        assert trained.delta.tobytes() == expected.delta.tobytes()  # type: ignore[union-attr]
        assert await worker.evaluate(view, height=3, train_index=2) == session.evaluate(view, 3, 2)
    finally:
        await worker.close()


async def test_a_founder_whose_learner_fails_is_told_why() -> None:
    worker = WorkerClient("digits:forest", AppContext())
    try:
        with pytest.raises(LearnerError, match="no model 'forest'"):
            await found_model(worker, 12)
    finally:
        await worker.close()


def test_the_state_of_genesis_is_read_only() -> None:
    model = found_in_process(demo_sessions(0)[0], 12).model
    for array in (model.weights, model.update_exponents, model.model_exponents):
        assert not array.flags.writeable
    assert issubclass(LearnerError, LocalError)
