"""A pytree of JAX as a learner: by hand, by Flax, with optax and without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="needs `pip install jax flax optax`, see CONTRIBUTING.md")

import jax.numpy as jnp  # noqa: E402
import optax  # noqa: E402
from support.federated import sessions, trained  # noqa: E402

import p2pfed  # noqa: E402
from p2pfed.learning.learner import AppContext, LearnerError, TrainContext  # noqa: E402
from p2pfed.learning.session import Session  # noqa: E402

EXAMPLE = f"{Path(__file__).parents[2] / 'examples' / 'jax_digits.py'}:learner"
CONTEXT = TrainContext(1, 0, 5)


def rows(count: int = 40) -> tuple[Any, Any]:
    x = np.random.default_rng(0).normal(size=(count, 6)).astype(np.float32)
    return x, (x[:, 0] > 0).astype(np.int32)


def apply(params: Any, x: Any) -> Any:
    return x @ params["weight"] + params["bias"]


def learner(params: Any = None, settings: dict[str, str] | None = None, **options: Any) -> p2pfed.JaxLearner:
    zeros = {"weight": jnp.zeros((6, 2)), "bias": jnp.zeros(2)}
    context = AppContext(params=settings or {})
    return p2pfed.JaxLearner(apply, params or zeros, context, options.pop("train", rows()), rows(), **options)


def test_the_flax_example_learns_the_digits() -> None:
    trainers = sessions(EXAMPLE, 4)
    assert {spec.name for spec in trainers[0].manifest.arrays} == {
        f"['params']['Dense_{layer}']['{part}']" for layer in (0, 1) for part in ("kernel", "bias")
    }
    assert trained(trainers, 6).metrics[-1]["acc(public)"] > 0.93


def test_a_training_repeats_and_leaves_the_agreed_model_alone() -> None:
    mine = learner(batch=8, lr=0.5)
    start = mine.weights()
    first, again = (mine.train([array.copy() for array in start], CONTEXT).weights for _ in range(2))
    assert all((one == other).all() for one, other in zip(first, again, strict=True))
    assert (first[1] != start[1]).any()
    assert mine.evaluate(first, CONTEXT)["acc(public)"] > mine.evaluate(start, CONTEXT)["acc(public)"]


def test_fedsgd_is_one_step_along_the_gradient_of_all_rows() -> None:
    mine = learner(settings={"algorithm": "fedsgd"}, lr=0.3, epochs=9)
    x, y = rows()
    error = np.full((40, 2), 0.5) - np.eye(2)[y]  # At zero both classes have the same chance.
    (bias, weight) = mine.train(mine.weights(), CONTEXT).weights  # A dict's keys are in order.
    np.testing.assert_allclose(weight, -0.3 * x.T @ error / 40, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(bias, -0.3 * error.mean(0), rtol=1e-4, atol=1e-6)


def test_fedprox_pulls_back() -> None:
    def distance(**settings: str) -> float:
        mine = learner(settings=settings, lr=0.3, epochs=9)
        return float(np.abs(mine.train(mine.weights(), CONTEXT).weights[1]).sum())

    assert distance() > distance(algorithm="fedprox", mu="0.1") > distance(algorithm="fedprox", mu="1")


def test_diloco_keeps_adams_moments_and_other_optimizers_begin_anew() -> None:
    kept, fresh = learner(settings={"algorithm": "diloco"}), learner(optimizer=optax.adam(0.05))
    for mine, expected in ((kept, 4), (fresh, 2)):
        mine.train(mine.weights(), CONTEXT)
        mine.train(mine.weights(), CONTEXT)
        assert int(mine._state[0].count) == expected


def test_integers_stay_and_half_precision_is_shared_as_floats() -> None:
    def counted(params: Any, x: Any) -> Any:
        return apply(params, x) + 0 * params["count"]

    params = {"weight": jnp.zeros((6, 2), jnp.bfloat16), "bias": jnp.zeros(2), "count": jnp.array(7)}
    mine = p2pfed.JaxLearner(counted, params, AppContext(), rows(), rows())
    session = Session(mine, AppContext())
    assert {spec.name: (spec.kind, spec.dtype) for spec in session.manifest.arrays} == {
        "['bias']": ("trained", "float32"),
        "['count']": ("local", "int32"),
        "['weight']": ("trained", "float32"),
    }
    assert session.train(session.initial, 1, 0).delta.any()
    with pytest.raises(LearnerError, match="no float leaf"):
        p2pfed.JaxLearner(apply, {"count": jnp.array(7)}, AppContext(), rows())


def test_a_regression_has_a_loss_and_no_accuracy() -> None:
    x, _ = rows()
    pair = (x, x[:, :2].copy())
    mine = learner(train=pair, loss=lambda scores, y: ((scores - y) ** 2).mean(), lr=0.3, epochs=60)
    mine._test = pair
    figures = mine.evaluate(mine.train(mine.weights(), CONTEXT).weights, CONTEXT)
    assert set(figures) == {"loss"}
    assert figures["loss"] < 0.01
