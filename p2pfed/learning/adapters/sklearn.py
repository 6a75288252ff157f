"""Train a scikit-learn estimator by its arrays: linear models by coef_, networks by coefs_."""

from __future__ import annotations

import warnings
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

try:
    from sklearn.base import clone, is_classifier
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import log_loss
except ModuleNotFoundError as error:
    raise missing(error) or error from None

_LINEAR, _LAYERED = ("coef_", "intercept_"), ("coefs_", "intercepts_")
R2_PUBLIC = "r2"


class SklearnLearner:
    """A scikit-learn estimator with one peer's rows: a Learner.

    Any estimator with `partial_fit`, whose fitted state is `coef_` and `intercept_` (SGDClassifier,
    SGDRegressor, Perceptron) or `coefs_` and `intercepts_` (MLPClassifier, MLPRegressor), or with
    `warm_start` (LogisticRegression). A linear model starts at zero.

    Args:
        estimator: Its settings are kept, its fitted state is not; rates and steps are its own.
        context: What the factory was given; its param `epochs` wins over the argument here.
        train: This peer's rows, x of shape `(rows, features)` and y of shape `(rows,)`.
        test: Rows that every peer has, for `acc(public)` and `loss`, or `r2`; None: no figures.
        classes: All labels of the network, ascending; None: those of the test rows and this peer's own,
            which must be the same at every peer.
        epochs: Passes over the rows between two heights.

    Raises:
        LearnerError: The estimator can't go on from given arrays, or a setting is out of range.
    """

    def __init__(
        self,
        estimator: Any,
        context: AppContext,
        train: Pair,
        test: Pair | None = None,
        *,
        classes: Any = None,
        epochs: int = 1,
    ) -> None:
        self._schedule = schedule_of(context.params, epochs=epochs, batch=0, lr=1.0)
        if self._schedule.algorithm != "fedavg":
            raise LearnerError(
                f"scikit-learn takes its own steps, so there is no {self._schedule.algorithm}; use fedavg"
            )
        self._x, self._y = (np.asarray(part) for part in train)
        self._test = None if test is None else tuple(np.asarray(part) for part in test)
        self.evaluation_root = evaluation_root_of(self._test)
        self.estimator, self._is_warm = _goes_on(estimator)
        if len(self._y) == 0:
            raise LearnerError("this peer has no rows to train on")
        known = self._y if self._test is None else np.concatenate([self._y, self._test[1]])
        self._classes = np.unique(known if classes is None else classes) if is_classifier(estimator) else None
        if self._is_warm and self._classes is not None and not np.isin(self._classes, self._y).all():
            raise LearnerError(
                f"this peer has no rows of some labels, and {type(estimator).__name__} can't train without "
                "them; use one with partial_fit, such as SGDClassifier"
            )
        self._begin()

    def weights(self) -> list[Array]:
        return [array.copy() for array in self._arrays()]

    def manifest(self) -> Manifest:
        """Return the arrays by the estimator's own names for them."""
        names = self._names
        if names == _LAYERED:
            layers = len(self.estimator.coefs_)
            labels = [f"{name}{layer}" for name in names for layer in range(layers)]
        else:
            labels = list(names)
        return Manifest(
            tuple(
                ArraySpec(label, array.shape, str(array.dtype), "trained", False)  # type: ignore[arg-type]
                for label, array in zip(labels, self._arrays(), strict=True)
            )
        )

    def train(self, weights: list[Array], context: TrainContext) -> TrainResult:
        """Fit on from `weights`, the rows in an order that the context's seed decides."""
        self.load(weights)
        dice = generator(context.seed)
        for _ in range(self._schedule.steps or self._schedule.epochs):
            order = dice.permutation(len(self._y))
            self._step(self._x[order], self._y[order], int(dice.integers(1 << 31)))
        return TrainResult(self.weights(), len(self._y))

    def evaluate(self, weights: list[Array], context: TrainContext) -> Metrics:  # noqa: ARG002 - no dice here
        """Return `acc(public)`, and `loss` where the estimator has probabilities; `r2` of a regressor."""
        if self._test is None:
            return {}
        self.load(weights)
        x, y = self._test
        if self._classes is None:
            return {R2_PUBLIC: float(self.estimator.score(x, y))}
        metrics: Metrics = {ACCURACY_PUBLIC: float(self.estimator.score(x, y))}
        if hasattr(self.estimator, "predict_proba"):
            chances = self.estimator.predict_proba(x)
            metrics[LOSS_PUBLIC] = float(log_loss(y, chances, labels=self._classes))
        return metrics

    def load(self, weights: list[Array]) -> None:
        """Make `estimator` predict with `weights`."""
        for own, array in zip(self._arrays(), weights, strict=True):
            own[...] = array

    def _begin(self) -> None:
        """Fit once, so that the estimator makes its arrays, and let a linear model start at zero."""
        self._names = _LINEAR
        self._step(self._x, self._y, 0)
        if hasattr(self.estimator, _LAYERED[0]):
            self._names = _LAYERED
        elif not hasattr(self.estimator, _LINEAR[0]):
            raise LearnerError(
                f"{type(self.estimator).__name__} keeps no coef_ or coefs_, so it has no arrays to share"
            )
        for name in self._names if self._names == _LINEAR else ():
            array = np.array(np.atleast_1d(getattr(self.estimator, name)), order="C")
            setattr(self.estimator, name, np.zeros_like(array))

    def _arrays(self) -> list[Array]:
        found: list[Array] = []
        for name in self._names:
            value = getattr(self.estimator, name)
            found += value if isinstance(value, list) else [value]
        return found

    def _step(self, x: Array, y: Array, seed: int) -> None:
        if hasattr(self.estimator, "random_state"):
            self.estimator.set_params(random_state=seed)
        if self._is_warm:
            self._fit(x, y)
        elif self._classes is not None:
            self.estimator.partial_fit(x, y, classes=self._classes)
        else:
            self.estimator.partial_fit(x, y)

    def _fit(self, x: Array, y: Array) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # A few steps a height are what we want.
            self.estimator.fit(x, y)


def _goes_on(estimator: Any) -> tuple[Any, bool]:
    """Return an unfitted copy that trains on from its arrays, and whether by `fit` instead of partial_fit."""
    fresh = clone(estimator)
    if fresh.get_params().get("average"):
        raise LearnerError("average keeps two models side by side; leave it out, the network averages anyway")
    if hasattr(fresh, "partial_fit"):
        return fresh, False
    if "warm_start" in fresh.get_params():
        return fresh.set_params(warm_start=True), True
    raise LearnerError(
        f"{type(estimator).__name__} has neither partial_fit nor warm_start, so it can't train on from an "
        "agreed model"
    )
