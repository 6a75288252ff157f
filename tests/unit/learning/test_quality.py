"""A learner's figures become the integers of a word on quality."""

from __future__ import annotations

import pytest

from p2pfed.learning.learner import Metrics
from p2pfed.learning.quality import quality_of, shown
from p2pfed.types.quality import CLASS_UNKNOWN, QUALITY_ONE


@pytest.mark.parametrize(
    ("figures", "score"),
    [
        ({"acc(public)": 0.5}, QUALITY_ONE // 2),
        ({"acc(public)": 0.5, "acc(local)": 0.25}, QUALITY_ONE // 4),
        ({"acc(local)": 0.25, "score": 0.75}, 3 * QUALITY_ONE // 4),
        ({"score": 7.0}, QUALITY_ONE),
        ({"score": -1}, 0),
    ],
)
def test_the_score_is_the_first_figure_that_is_there(figures: Metrics, score: int) -> None:
    assert quality_of(figures) == (score, b"")


def test_a_learner_that_measures_no_such_thing_says_nothing() -> None:
    assert quality_of({"loss": 0.5, "class.0": 1.0}) is None


def test_classes_stand_by_number_and_those_that_are_not_known_are_named() -> None:
    found = quality_of({"score": 1.0, "class.0": 1.0, "class.2": 0.5})
    assert found == (QUALITY_ONE, bytes([254, CLASS_UNKNOWN, 127]))


def test_people_are_not_shown_single_classes() -> None:
    assert shown({"loss": 0.5, "class.0": 1.0}) == {"loss": 0.5}
