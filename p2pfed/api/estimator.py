"""A network of peers as one scikit-learn estimator: `fit` trains it, `predict` asks the agreed model."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from p2pfed.api.simulation import Simulated, simulate
from p2pfed.learning.adapters.sklearn import SklearnLearner
from p2pfed.learning.extras import missing
from p2pfed.learning.learner import AppContext
from p2pfed.learning.shares import share

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.linear_model import SGDClassifier
    from sklearn.utils.validation import check_is_fitted, validate_data
except ModuleNotFoundError as error:
    raise missing(error) or error from None


class FederatedClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier whose rows are split among peers that train together; pipelines and searches take it.

    The peers are simulated in this process, as `p2pfed.simulate` does it; none sees the rows of another.

    Args:
        estimator: What each peer trains, a classifier that `SklearnLearner` takes; None: SGDClassifier().
        peers: Among how many the rows are split.
        byzantine: How many of the last peers lie how, `{"sign_flip": 2}`; None: none.
        heights: How many models they agree on.
        epochs: Passes of each peer over its rows between two of them.
        partition: How the rows are split: "iid", "dirichlet:1.0", "label:2", "gamma:0.5".
        rule: That merges the updates.
        seed: Dice of split, network and training.

    Attributes:
        estimator_: The estimator with the agreed model.
        classes_: All labels, ascending.
        simulation_: What came of the training, a `Simulated`.
        n_features_in_: Columns of X.
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        peers: int = 7,
        byzantine: dict[str, int] | None = None,
        heights: int = 20,
        epochs: int = 1,
        partition: str = "iid",
        rule: str = "clip_nnm_trimmed_mean",
        seed: int = 0,
    ) -> None:
        self.estimator = estimator
        self.peers = peers
        self.byzantine = byzantine
        self.heights = heights
        self.epochs = epochs
        self.partition = partition
        self.rule = rule
        self.seed = seed

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803 - as scikit-learn calls it
        """Train on rows X of shape `(rows, features)` and labels y of shape `(rows,)`.

        Raises:
            UsageError, LearnerError: A parameter makes no sense, or there are too few rows for so many peers.
        """
        x, y = validate_data(self, X, y)
        self.classes_ = np.unique(y)
        base = SGDClassifier() if self.estimator is None else self.estimator

        def learner(context: AppContext) -> SklearnLearner:
            return SklearnLearner(
                base, context, share(x, y, context), classes=self.classes_, epochs=self.epochs
            )

        self.simulation_: Simulated = simulate(
            learner, self.peers, self.byzantine, self.heights,
            rule=self.rule, partition=self.partition, seed=self.seed,
        )  # fmt: skip
        first = learner(AppContext(0, self.peers, self.partition, self.seed))
        first.load(list(self.simulation_.model.values()))
        self.estimator_ = first.estimator
        return self

    def predict(self, X: Any) -> Any:  # noqa: N803
        """Return the label of each row, shape `(rows,)`; raises NotFittedError before `fit`."""
        check_is_fitted(self)
        return self.estimator_.predict(validate_data(self, X, reset=False))

    def predict_proba(self, X: Any) -> Any:  # noqa: N803
        """Return the chance of each label, shape `(rows, labels)`; an estimator without them raises."""
        check_is_fitted(self)
        return self.estimator_.predict_proba(validate_data(self, X, reset=False))

    def decision_function(self, X: Any) -> Any:  # noqa: N803
        """Return the estimator's scores; AttributeError where it has none."""
        check_is_fitted(self)
        return self.estimator_.decision_function(validate_data(self, X, reset=False))
