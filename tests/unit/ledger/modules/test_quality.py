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
from p2pfed.ledger.modules.quality import QualityState, Scored, Shares, median_score
from p2pfed.ledger.state import LEDGER_BYTES_MAX
from p2pfed.primitives import codec
from p2pfed.types.genesis import Params
from p2pfed.types.params import (
    GATE_RETURN_HEIGHTS,
    PROOF_LEAF_BYTES_MAX,
    QUALITY_CLASSES_MAX,
    QUALITY_WINDOW,
    VALIDATORS_MAX,
)
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
    assert gone.back_to == Scored(1, root(1), b"e" * 32, 40_000)
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
    assert after.window == (Scored(4, root(1), b"e" * 32, 40_000),)


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
    unwatched = told(QualityState(), 2, 40_000, all_right)
    assert unwatched.window[0].shares == ()
    assert told(unwatched, 3, 39_000, one_lost).back_to is None
    state = told(QualityState(), 2, 40_000, all_right, gate_class_drop=half)
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


def test_the_shares_of_each_model_have_a_leaf_that_a_proof_can_carry() -> None:
    half = QUALITY_ONE // 2
    state = told(
        told(QualityState(), 2, 40_000, b"ab", gate_class_drop=half), 3, 9, b"a", gate_class_drop=half
    )
    said = tuple(Shares(key, b"ab") for key in KEYS)
    assert state.back_to is not None
    assert state.back_to.shares == said
    leaves = dict(quality.leaves(state))
    assert leaves == {
        b"state": codec.encode(
            msgspec.structs.replace(
                state,
                window=(Scored(1, root(1), b"e" * 32, 40_000),),
                back_to=Scored(1, root(1), b"e" * 32, 40_000),
            )
        ),
        b"shares\x00\x00": codec.encode(said),
        b"back_to": codec.encode(said),
    }
    most = Shares(b"k" * 33, bytes(QUALITY_CLASSES_MAX))
    full = Scored((1 << 62), root(1), root(2), QUALITY_ONE, (most,) * VALIDATORS_MAX)
    largest = QualityState((full,) * QUALITY_WINDOW)
    assert all(len(leaf) < PROOF_LEAF_BYTES_MAX for _, leaf in quality.leaves(largest))
    assert len(codec.encode(largest)) < LEDGER_BYTES_MAX // 4


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
    words = [Word(key, score, b"") for key, (score, _) in zip(keys, everybody, strict=True)]
    found = median_score(words, voters)
    assert found is not None
    said = [score for score, _ in honest]
    assert min(said) <= found <= max(said)


ALL, HALF, NONE, UNKNOWN = CLASS_ONE, CLASS_ONE // 2, 0, CLASS_UNKNOWN


@pytest.mark.parametrize(
    ("then", "now", "is_lost"),
    [
        ((ALL, ALL, ALL, ALL), (NONE, NONE, NONE, NONE), True),
        ((ALL, ALL, ALL, ALL), (HALF, HALF, HALF, HALF), False),  # Exactly what may be lost.
        ((ALL, ALL, ALL, ALL), (NONE, NONE, HALF, HALF), False),  # Half is not most.
        ((ALL, ALL, ALL, ALL), (NONE, NONE, NONE, ALL), True),  # One who vouches hides nothing.
        ((ALL, HALF, NONE, NONE), (NONE, HALF, NONE, NONE), False),  # One who lies loses nothing.
        ((ALL, ALL, ALL, UNKNOWN), (NONE, NONE, HALF, UNKNOWN), True),  # Most of those who know it.
        ((ALL, ALL, ALL, UNKNOWN), (NONE, NONE, UNKNOWN, NONE), False),  # Too few know both.
        ((ALL, ALL, UNKNOWN, ALL), (NONE, NONE, NONE, UNKNOWN), False),
    ],
)
def test_each_validator_is_compared_with_what_it_said_before(
    then: tuple[int, ...], now: tuple[int, ...], is_lost: bool
) -> None:
    half = QUALITY_ONE // 2
    state = QualityState()
    for height, shares in ((2, then), (3, now)):
        words = tuple(Word(key, 40_000, bytes([5, share])) for key, share in zip(KEYS, shares, strict=True))
        said = msgspec.structs.replace(judge(height), words=words)
        state, _ = quality.execute(said, context(height, gate_class_drop=half), state)
    assert (state.back_to is not None) is is_lost


def test_exactly_two_thirds_who_know_a_class_are_not_enough() -> None:
    then, now = (tuple(Shares(key, bytes([share])) for key in KEYS[:3]) for share in (ALL, NONE))
    models = Scored(2, root(2), root(2), 1, now), Scored(1, root(1), root(1), 1, then)
    assert not quality.has_lost_class(*models, (*VOTERS[:3], (KEYS[3], 15)), TENTH)
    assert quality.has_lost_class(*models, (*VOTERS[:3], (KEYS[3], 14)), TENTH)


def test_who_came_after_the_best_model_has_nothing_to_compare_with() -> None:
    then, now = Shares(KEYS[0], bytes([ALL])), tuple(Shares(key, bytes([NONE])) for key in KEYS)
    best = Scored(1, root(1), root(1), 1, (then,))
    assert not quality.has_lost_class(Scored(2, root(2), root(2), 1, now), best, VOTERS, TENTH)
    alone = ((KEYS[0], 30), *((key, 4) for key in KEYS[1:]))
    assert quality.has_lost_class(Scored(2, root(2), root(2), 1, now), best, alone, TENTH)


@given(
    st.lists(st.tuples(st.integers(0, ALL), st.integers(0, ALL)), min_size=4, max_size=9),
    st.lists(st.tuples(st.integers(0, ALL), st.integers(0, ALL)), max_size=4),
)
def test_liars_below_a_third_can_not_lose_a_class_that_every_honest_validator_kept(
    honest: list[tuple[int, int]], liars: list[tuple[int, int]]
) -> None:
    honest = [(then, max(then, now)) for then, now in honest]
    everybody = [*honest, *liars[: (len(honest) - 1) // 2]]
    keys = [number.to_bytes(33, "big") for number in range(len(everybody))]
    pair = [
        Scored(1, root(1), root(1), 1, tuple(map(Shares, keys, (bytes([said[when]]) for said in everybody))))
        for when in (1, 0)
    ]
    assert not quality.has_lost_class(pair[0], pair[1], [(key, 10) for key in keys], TENTH)


def test_between_two_halves_the_lower_one_is_the_median() -> None:
    words = [Word(key, 1 + place, b"") for place, key in enumerate(KEYS)]
    assert median_score(words, VOTERS) == 2
