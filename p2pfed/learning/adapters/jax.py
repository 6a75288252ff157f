"""Train a JAX model: any pytree of arrays with a function that scores rows, of Flax or written by hand."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from p2pfed.learning.extras import missing
from p2pfed.learning.learner import (
    ACCURACY_PUBLIC,
    LOSS_PUBLIC,
    AppContext,
    Array,
    LearnerError,
    Metrics,
    TrainContext,
    TrainResult,
    generator,
)
from p2pfed.learning.schedule import schedule_of
from p2pfed.learning.shares import Pair, evaluation_root_of
from p2pfed.types.model import ArraySpec, Manifest

# One thread, unless the operator chose: several peers may share a machine, and the vote comes first.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
try:
    import jax
    import jax.numpy as jnp
except ModuleNotFoundError as error:
    raise missing(error) or error from None

Tree = Any  # A pytree of arrays.
EVALUATION_ROWS = 1024


def cross_entropy(scores: Any, y: Any) -> Any:
    """Return the mean cross-entropy of scores, shape `(rows, classes)`, for labels of shape `(rows,)`."""
    return -jnp.take_along_axis(jax.nn.log_softmax(scores), y[:, None], axis=1).mean()


class JaxLearner:
    """A pytree of parameters with one peer's rows: a Learner.

    Args:
        apply: `apply(params, x)` gives the scores of rows, as `model.apply` of a Flax module does.
        params: The pytree; its values at the founder's become the network's first. Float leaves are shared
            and trained, integer leaves stay here.
        context: What the factory was given; its params `algorithm`, `epochs`, `batch`, `lr`, `steps` and
            `mu` win over the arguments here.
        train: This peer's rows `(x, y)`, each of shape `(rows, …)`.
        test: Rows that every peer has, for `acc(public)` and `loss`; None: no figures.
        loss: `loss(scores, y)`, a mean over the rows.
        optimizer: One of optax; None: plain gradient steps at `lr`, or AdamW of optax where the algorithm is
            `diloco`. Its state begins anew at each height, except in `diloco`.
        epochs, batch, lr: Passes between two heights, rows of a step (0: all), rate of the steps.

    Raises:
        LearnerError: Nothing to train, optax is missing for `diloco`, or a setting is out of range.
    """

    def __init__(
        self,
        apply: Callable[[Tree, Any], Any],
        params: Tree,
        context: AppContext,
        train: Pair,
        test: Pair | None = None,
        *,
        loss: Callable[[Any, Any], Any] = cross_entropy,
        optimizer: Any = None,
        epochs: int = 1,
        batch: int = 32,
        lr: float = 0.01,
    ) -> None:
        self._schedule = schedule_of(context.params, epochs=epochs, batch=batch, lr=lr)
        self._x, self._y = (np.asarray(part) for part in train)
        self._test = None if test is None else tuple(np.asarray(part) for part in test)
        self.evaluation_root = evaluation_root_of(self._test)
        leaves, self._structure = jax.tree_util.tree_flatten_with_path(params)
        self._names = [jax.tree_util.keystr(path) or "params" for path, _ in leaves]
        self._leaves = [jnp.asarray(leaf) for _, leaf in leaves]
        self._is_trained = [jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in self._leaves]
        if not any(self._is_trained):
            raise LearnerError("the pytree has no float leaf, so nothing can be trained")
        if len(self._y) == 0:
            raise LearnerError("this peer has no rows to train on")
        self._optimizer = optimizer if optimizer is not None else self._own_optimizer()
        self._state: Any = None
        self._scores = jax.jit(apply)
        self._loss = jax.jit(loss)
        self._gradient = jax.jit(jax.value_and_grad(self._objective(apply, loss)))
        self._step = jax.jit(self._stepped)

    def weights(self) -> list[Array]:
        return [_array(leaf) for leaf in self._leaves]

    def manifest(self) -> Manifest:
        """Return the leaves by their paths in the pytree."""
        return Manifest(
            tuple(
                ArraySpec(name, array.shape, str(array.dtype), "trained" if is_trained else "local", False)  # type: ignore[arg-type]
                for name, array, is_trained in zip(self._names, self.weights(), self._is_trained, strict=True)
            )
        )

    def train(self, weights: list[Array], context: TrainContext) -> TrainResult:
        """Take steps over the rows in an order that the context's seed decides: a run repeats."""
        trained, fixed = self._split(weights)
        agreed, state = trained, self._fresh_state(trained)
        loss_sum, steps = 0.0, 0
        for chosen in self._schedule.batches(len(self._y), generator(context.seed)):
            loss, gradient = self._gradient(trained, fixed, agreed, self._x[chosen], self._y[chosen])
            trained, state = self._step(trained, gradient, state)
            loss_sum, steps = loss_sum + float(loss), steps + 1
        self._state = state
        leaves = [_array(leaf) for leaf in self._joined(trained, fixed)]
        return TrainResult(leaves, len(self._y), {"train_loss": loss_sum / steps})

    def evaluate(self, weights: list[Array], context: TrainContext) -> Metrics:  # noqa: ARG002 - no dice here
        """Return `loss` on the test rows, and `acc(public)` where the model scores classes."""
        if self._test is None or not len(self._test[1]):
            return {}
        params, (x, y) = self._tree([jnp.asarray(array) for array in weights]), self._test
        loss_sum, hits, is_classes = 0.0, 0, y.ndim == 1 and y.dtype.kind in "iu"
        for at in range(0, len(y), EVALUATION_ROWS):
            rows = slice(at, at + EVALUATION_ROWS)
            scores = self._scores(params, x[rows])
            loss_sum += float(self._loss(scores, y[rows])) * len(y[rows])
            is_classes = is_classes and scores.ndim == 2
            hits += int((np.asarray(scores).argmax(1) == y[rows]).sum()) if is_classes else 0
        metrics: Metrics = {LOSS_PUBLIC: loss_sum / len(y)}
        return {ACCURACY_PUBLIC: hits / len(y), **metrics} if is_classes else metrics

    def _own_optimizer(self) -> Any:
        if self._schedule.algorithm != "diloco":
            return None
        try:
            import optax
        except ModuleNotFoundError as error:
            raise missing(error) or error from None
        return optax.adamw(self._schedule.learning_rate)

    def _fresh_state(self, trained: list[Any]) -> Any:
        if self._optimizer is None:
            return None
        keeps = self._schedule.algorithm == "diloco" and self._state is not None
        return self._state if keeps else self._optimizer.init(trained)

    def _objective(self, apply: Callable[[Tree, Any], Any], loss: Callable[[Any, Any], Any]) -> Any:
        pull = self._schedule.proximal

        def objective(trained: list[Any], fixed: list[Any], agreed: list[Any], x: Any, y: Any) -> Any:
            value = loss(apply(self._tree(self._joined(trained, fixed)), x), y)
            if pull:  # FedProx: its gradient is `pull * (weights - agreed)`.
                value += pull / 2 * sum(((w - a) ** 2).sum() for w, a in zip(trained, agreed, strict=True))
            return value

        return objective

    def _stepped(self, trained: list[Any], gradient: list[Any], state: Any) -> tuple[list[Any], Any]:
        if self._optimizer is None:
            rate = self._schedule.learning_rate
            return [w - rate * g for w, g in zip(trained, gradient, strict=True)], None
        changes, state = self._optimizer.update(gradient, state, trained)
        return [w + change for w, change in zip(trained, changes, strict=True)], state

    def _split(self, weights: list[Array]) -> tuple[list[Any], list[Any]]:
        """Return the leaves that are trained, and the others, as arrays of JAX."""
        leaves = [jnp.asarray(a, own.dtype) for a, own in zip(weights, self._leaves, strict=True)]
        trained = [leaf for leaf, is_trained in zip(leaves, self._is_trained, strict=True) if is_trained]
        fixed = [leaf for leaf, is_trained in zip(leaves, self._is_trained, strict=True) if not is_trained]
        return trained, fixed

    def _joined(self, trained: list[Any], fixed: list[Any]) -> list[Any]:
        first, second = iter(trained), iter(fixed)
        return [next(first) if is_trained else next(second) for is_trained in self._is_trained]

    def _tree(self, leaves: list[Any]) -> Tree:
        return jax.tree_util.tree_unflatten(self._structure, leaves)


def _array(leaf: Any) -> Array:
    """Return a leaf as an array; numpy has no bfloat16 of its own, and float32 holds all of its values."""
    if leaf.dtype == jnp.bfloat16:
        leaf = leaf.astype(jnp.float32)
    return np.array(leaf)
