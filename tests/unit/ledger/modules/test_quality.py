"""The gate judges by medians that less than a third of liars can't move, and goes back by its own rules."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pfed.errors import InvalidTransaction
from p2pfed.ledger.module import BaseModel, Context, Judge, Word
from p2pfed.ledger.modules import quality
from p2pfed.ledger.modules.quality import QualityState, Scored, medians
from p2pfed.types.genesis import Params
from p2pfed.types.params import GATE_RETURN_HEIGHTS, QUALITY_WINDOW
from p2pfed.types.quality import CLASS_ONE, CLASS_UNKNOWN, QUALITY_ONE

KEYS = tuple(bytes([number]) * 33 for number in range(4))
VOTERS = tuple((key, 10) for key in KEYS)
TENTH = QUALITY_ONE // 10


def params(**gate: int) -> Params:
    chosen = {"gate_drop": TENTH} | gate
    return Params("local", ("mean",), 1, 12, 4, 0, **chosen)


def context(height: int, **gate: int) -> Context:
    return Context(bytes(32), params(**gate), height, 0, KEYS[0])


def judge(height: int, *scores: int, classes: bytes = b"", is_new: bool = True) -> Judge:
    """Return what the block of `height` says of the model before it: a score from each validator in turn."""
    words = tuple(Word(key, score, classes) for key, score in zip(KEYS, scores, strict=False))
    model = BaseModel(height - 1, root(height - 1), height - 1) if is_new else None
    return Judge(model, b"e" * 32, VOTERS, words)


def root(height: int) -> bytes:
    return height.to_bytes(32, "big")


def told(state: QualityState, height: int, score: int, classes: bytes = b"", **gate: int) -> QualityState:
    """Return the state after a block in which all four say the same."""
    after, calls = quality.execute(
        judge(height, *[score] * 4, classes=classes), context(height, **gate), state
    )
    assert calls == ()
    return after


def test_a_model_that_loses_a_tenth_stays_and_one_that_loses_more_goes() -> None:
    state = told(QualityState(), 2, 40_000)
    kept = told(state, 3, 36_001)
    assert [scored.score for scored in kept.window] == [40_000, 36_001]
    assert kept.back_to is None
    gone = told(state, 3, 36_000)
    assert gone.back_to == Scored(1, root(1), b"e" * 32, 40_000, b"")
    assert [scored.height for scored in gone.window] == [1]


def test_exactly_what_may_be_lost_may_be_lost() -> None:
    state = told(QualityState(), 2, 40_000)
    assert told(state, 3, 20_000, gate_drop=QUALITY_ONE // 2).back_to is None
    assert told(state, 3, 19_999, gate_drop=QUALITY_ONE // 2).back_to is not None


def test_good_models_before_the_one_that_comes_back_stay_in_the_window() -> None:
    state = told(told(told(QualityState(), 2, 38_000), 3, 40_000), 4, 39_500)
    state = told(state, 5, 0)
    after, _ = quality.execute(judge(6, is_new=False), context(6), state)
    assert [(scored.height, scored.score) for scored in after.window] == [(1, 38_000), (6, 40_000)]


def test_the_next_block_goes_back_and_what_trained_from_worse_models_is_void() -> None:
    state = told(told(QualityState(), 2, 40_000), 3, 0)
    after, _ = quality.execute(judge(4, is_new=False), context(4), state)
    assert after.back_to is None
    assert after.floor == 4
    # The model is that of height 4 from now on: peers keep the newest.
    assert after.window == (Scored(4, root(1), b"e" * 32, 40_000, b""),)


def test_patience_asks_for_so_many_worse_models_in_a_row() -> None:
    state = told(QualityState(), 2, 40_000, gate_patience=3)
    for height in (3, 4):
        state = told(state, height, 0, gate_patience=3)
        assert state.back_to is None
    gone = told(state, 5, 0, gate_patience=3)
    assert gone.back_to is not None
    assert gone.strikes == 0
    state = told(state, 5, 40_000, gate_patience=3)  # One good model, and it counts from the start.
    assert state.strikes == 0
    assert told(state, 6, 0, gate_patience=3).back_to is None


def test_a_class_that_is_lost_is_seen_where_the_score_is_not() -> None:
    all_right, one_lost = bytes([CLASS_ONE] * 3), bytes([CLASS_ONE, 0, CLASS_ONE])
    half = QUALITY_ONE // 2
    state = told(QualityState(), 2, 40_000, all_right)
    assert told(state, 3, 39_000, one_lost).back_to is None  # Nobody watches classes here.
    assert told(state, 3, 39_000, one_lost, gate_class_drop=half).back_to is not None
    less = bytes([CLASS_ONE, CLASS_ONE // 2, CLASS_ONE])
    assert told(state, 3, 39_000, less, gate_class_drop=half).back_to is None
    unknown = bytes([CLASS_ONE, CLASS_UNKNOWN])
    assert told(state, 3, 39_000, unknown, gate_class_drop=half).back_to is None
    was_unknown = told(QualityState(), 2, 40_000, unknown, gate_class_drop=half)
    assert told(was_unknown, 3, 39_000, bytes([CLASS_ONE, 0]), gate_class_drop=half).back_to is None


def test_it_goes_back_only_to_what_every_peer_still_keeps() -> None:
    state = told(QualityState(), 2, 40_000, gate_patience=1)
    for height in range(3, 2 + GATE_RETURN_HEIGHTS):  # Nobody speaks for a while.
        state, _ = quality.execute(judge(height), context(height), state)
    assert told(state, 2 + GATE_RETURN_HEIGHTS - 1, 0).back_to is not None
    late = told(state, 2 + GATE_RETURN_HEIGHTS, 0)
    assert late.back_to is None
    assert late.strikes == 1


def test_what_is_older_than_the_window_is_forgotten() -> None:
    state = told(QualityState(), 2, 60_000)
    height = 2 + QUALITY_WINDOW
    assert told(state, height - 1, 0).best is not None
    fresh = told(state, height, 10)
    assert [scored.score for scored in fresh.window] == [10]


def test_two_thirds_of_the_stake_are_not_enough_to_judge() -> None:
    three = (*VOTERS[:3], (KEYS[3], 15))  # 30 of 45 is exactly two thirds.
    before = told(QualityState(), 2, 40_000)
    exactly = msgspec.structs.replace(judge(3, 0, 0, 0), voters=three)
    assert quality.execute(exactly, context(3), before)[0] == before
    more = msgspec.structs.replace(exactly, voters=(*VOTERS[:3], (KEYS[3], 14)))
    assert quality.execute(more, context(3), before)[0].back_to is not None


@pytest.mark.parametrize(
    ("words", "is_new", "why"),
    [
        ((KEYS[0], KEYS[0]), True, "twice"),
        ((bytes([9]) * 33,), True, "no vote"),
        ((KEYS[0],), False, "no new model"),
    ],
)
def test_a_block_with_words_that_nobody_may_say_is_invalid(words: Any, is_new: bool, why: str) -> None:
    said = tuple(Word(key, 1, b"") for key in words)
    wrong = msgspec.structs.replace(judge(3, is_new=is_new), words=said)
    with pytest.raises(InvalidTransaction, match=why):
        quality.execute(wrong, context(3), QualityState())


def test_a_network_without_a_gate_has_no_leaf() -> None:
    assert list(quality.leaves(QualityState())) == []
    assert [name for name, _ in quality.leaves(told(QualityState(), 2, 1))] == [b"state"]


SCORE = st.integers(0, QUALITY_ONE)


@given(
    st.lists(st.tuples(SCORE, st.integers(1, 50)), min_size=1, max_size=9),
    st.lists(st.tuples(SCORE, st.integers(1, 50)), max_size=4),
)
def test_liars_below_a_third_can_not_move_a_median_beyond_what_honest_validators_say(
    honest: list[tuple[int, int]], liars: list[tuple[int, int]]
) -> None:
    total = sum(power for _, power in [*honest, *liars])
    while liars and 3 * sum(power for _, power in liars) >= total:
        total -= liars.pop()[1]
    everybody = [*honest, *liars]
    keys = [number.to_bytes(33, "big") for number in range(len(everybody))]
    voters = [(key, power) for key, (_, power) in zip(keys, everybody, strict=True)]
    words = [
        Word(key, score, bytes([score * CLASS_ONE // QUALITY_ONE]))
        for key, (score, _) in zip(keys, everybody, strict=True)
    ]
    found = medians(words, voters)
    assert found is not None
    score, classes = found
    said = [score for score, _ in honest]
    assert min(said) <= score <= max(said)
    assert (
        classes[0] == score * CLASS_ONE // QUALITY_ONE
    )  # Order is kept, so the medians are the same voice's.


def test_a_class_needs_two_thirds_who_know_it() -> None:
    known, unknown = bytes([100]), bytes([CLASS_UNKNOWN])
    words = [Word(key, 1, known if place < 2 else unknown) for place, key in enumerate(KEYS)]
    assert medians(words, VOTERS) == (1, unknown)
    words[2] = Word(KEYS[2], 1, known)
    assert medians(words, VOTERS) == (1, known)


def test_exactly_two_thirds_who_know_a_class_are_not_enough() -> None:
    known, unknown = bytes([100]), bytes([CLASS_UNKNOWN])
    words = [Word(key, 1, unknown if key == KEYS[3] else known) for key in KEYS]
    assert medians(words, (*VOTERS[:3], (KEYS[3], 15))) == (1, unknown)
    assert medians(words, (*VOTERS[:3], (KEYS[3], 14))) == (1, known)


def test_validators_may_know_of_different_numbers_of_classes() -> None:
    words = [Word(key, 1, bytes([100] * place)) for place, key in enumerate(KEYS)]
    assert medians(words, VOTERS) == (1, bytes([100, CLASS_UNKNOWN, CLASS_UNKNOWN]))


def test_between_two_halves_the_lower_one_is_the_median() -> None:
    words = [Word(key, 1 + place, b"") for place, key in enumerate(KEYS)]
    assert medians(words, VOTERS) == (2, b"")
