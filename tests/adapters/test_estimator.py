"""FederatedClassifier goes where scikit-learn's own estimators go."""

from __future__ import annotations

import pytest

pytest.importorskip("sklearn", reason="needs `pip install scikit-learn`, see CONTRIBUTING.md")

from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import p2pfed
from p2pfed.errors import UsageError


def test_it_fits_and_predicts_under_liars() -> None:
    x, y = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x / 16, y, random_state=0)
    model = p2pfed.FederatedClassifier(peers=5, byzantine={"sign_flip": 1}, heights=6, epochs=3)
    assert model.fit(x, y).score(x_test, y_test) > 0.9
    assert model.simulation_.violations == ()
    assert list(model.classes_) == list(range(10))
    assert model.decision_function(x_test).shape == (len(x_test), 10)
    with pytest.raises(ValueError, match="features"):
        model.predict(x_test[:, :3])


def test_pipelines_clones_and_cross_validation_take_it() -> None:
    x, y = load_breast_cancer(return_X_y=True)
    labels = ["ill" if value else "well" for value in y]
    base = p2pfed.FederatedClassifier(
        SGDClassifier(loss="log_loss"), peers=3, heights=3, partition="dirichlet:1"
    )
    assert clone(base).get_params()["partition"] == "dirichlet:1"
    pipeline = make_pipeline(StandardScaler(), base)
    assert cross_val_score(pipeline, x, labels, cv=2).min() > 0.9
    assert pipeline.fit(x, labels).predict_proba(x[:4]).shape == (4, 2)


def test_it_says_what_is_wrong() -> None:
    x, y = load_breast_cancer(return_X_y=True)
    with pytest.raises(NotFittedError):
        p2pfed.FederatedClassifier().predict(x)
    with pytest.raises(UsageError, match="did you mean sign_flip"):
        p2pfed.FederatedClassifier(byzantine={"sign_flup": 1}).fit(x, y)
