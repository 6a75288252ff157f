"""A step of the model that is far longer than the last ones is told from an ordinary one."""

from __future__ import annotations

import numpy as np
import pytest

from p2pfed.learning.pace import JUMP, MODELS_KEPT, STEPS_KEPT, STEPS_MIN, Pace, step_length
from p2pfed.learning.quality import quality_of
from p2pfed.types.model import Group, ModelState
from p2pfed.types.quality import CLASS_ONE, CLASS_UNKNOWN, QUALITY_PACE

GROUPS = (Group(0, 2, "trained", nonnegative=False), Group(2, 4, "statistic", nonnegative=False))


def model(weights: list[int], exponents: tuple[int, int] = (4, 4)) -> ModelState:
    return ModelState(np.array(weights, np.int32), np.array([4, 4], np.int8), np.array(exponents, np.int8))


def test_a_step_has_the_units_of_the_learner_whatever_those_of_the_model_and_no_statistics() -> None:
    before = model([16, 32, 5, 5])
    assert step_length(before, model([16 + 48, 32 + 64, 900, -900]), GROUPS) == 5.0
    assert step_length(before, model([32 + 96, 64 + 128, 0, 0], (5, 9)), GROUPS) == 5.0
    assert step_length(before, before, GROUPS) == 0.0


def test_large_groups_are_measured_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2pfed.learning.pace._PIECE", 3)
    groups = (Group(0, 10, "trained", nonnegative=False),)
    before, after = model([0] * 10, (0, 0)), model([1] * 10, (0, 0))
    assert step_length(before, after, groups) == pytest.approx(10**0.5)


def walked(pace: Pace, *lengths: float, first: int = 1) -> list[int]:
    """Return what is said of steps of these lengths, one after the other."""
    return [pace.calm(length, first + place) for place, length in enumerate(lengths)]


def test_a_jump_is_more_than_twice_the_median_of_the_last_steps() -> None:
    steps = (5.0, 1.0, 1.0, 2.0, 1.0)
    assert len(steps) == STEPS_MIN
    for length, said in ((JUMP * 1.0, CLASS_ONE), (JUMP * 1.0 + 0.01, 0), (0.0, CLASS_ONE)):
        assert walked(Pace(), *steps, length) == [*[CLASS_ONE] * STEPS_MIN, said]


def test_who_begins_late_does_not_know_until_it_has_seen_enough() -> None:
    assert walked(Pace(), *[1.0] * 7, first=30) == [CLASS_UNKNOWN] * STEPS_MIN + [CLASS_ONE] * 2
    assert walked(Pace(), *[1.0] * 4, 9.0, 9.0, first=30)[-2:] == [CLASS_UNKNOWN, 0]


def test_a_step_from_a_model_that_was_not_seen_is_not_known_and_does_not_count() -> None:
    pace = Pace()
    walked(pace, *[1.0] * STEPS_MIN)
    assert pace.calm(None, 6) == CLASS_UNKNOWN
    assert pace.calm(2.1, 7) == 0


def test_a_lasting_change_of_pace_is_accepted_once_half_of_the_last_steps_have_it() -> None:
    pace = Pace()
    walked(pace, *[1.0] * STEPS_KEPT)
    said = walked(pace, *[3.0] * STEPS_KEPT, first=STEPS_KEPT + 1)
    assert said.index(CLASS_ONE) == STEPS_KEPT // 2
    assert set(said[said.index(CLASS_ONE) :]) == {CLASS_ONE}


def test_the_two_newest_models_are_kept_even_where_they_are_seen_twice() -> None:
    pace = Pace()
    for height in (1, 2, 2, 3):
        pace.see(height, model([height] * 4))
    assert MODELS_KEPT == 2
    assert pace.model_of(1) is None
    assert [pace.model_of(height).weights[0] for height in (2, 3)] == [2, 3]  # type: ignore[union-attr]


def test_the_pace_has_a_place_of_its_own_behind_all_classes() -> None:
    figures = {"score": 1.0, "class.0": 1.0, f"class.{QUALITY_PACE}": 1.0}
    for calm in (0, CLASS_ONE):
        word = quality_of(figures, calm)
        assert word is not None
        assert word[1] == bytes([CLASS_ONE, *[CLASS_UNKNOWN] * (QUALITY_PACE - 1), calm])
    assert quality_of(figures, CLASS_UNKNOWN) == quality_of({"score": 1.0, "class.0": 1.0})
