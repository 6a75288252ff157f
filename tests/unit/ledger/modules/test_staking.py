"""A validator set changes two heights after its block, and is remembered while evidence counts."""

from __future__ import annotations

from p2pfed.ledger.module import Leave
from p2pfed.ledger.modules import staking
from p2pfed.ledger.modules.staking import SetFrom, StakingState
from p2pfed.types.params import EVIDENCE_AGE_HEIGHTS
from p2pfed.types.validators import ValidatorSet, validator_set

KEYS = [bytes([2]) + bytes(31) + bytes([place]) for place in range(4)]
WHOLE = validator_set((key, 10 + place) for place, key in enumerate(KEYS))


def start() -> StakingState:
    return StakingState((SetFrom(1, WHOLE),), ())


def block(state: StakingState, height: int, *leaving: bytes) -> StakingState:
    for key in leaving:
        state, calls = staking.execute(Leave(key), KEYS[0], height, state)
        assert calls == ()
    return staking.end_block(height, state)


def keys_at(state: StakingState, height: int) -> list[bytes]:
    validators = state.validators_at(height)
    assert isinstance(validators, ValidatorSet)
    return [validator.key for validator in validators.validators]


def test_who_leaves_at_a_height_votes_for_one_height_more() -> None:
    state = block(start(), 7, KEYS[1])
    assert keys_at(state, 7) == keys_at(state, 8) == KEYS
    assert keys_at(state, 9) == keys_at(state, 1000) == [KEYS[0], KEYS[2], KEYS[3]]


def test_changes_of_two_blocks_in_a_row_add_up() -> None:
    state = block(block(start(), 7, KEYS[1]), 8, KEYS[3])
    assert keys_at(state, 8) == KEYS
    assert keys_at(state, 9) == [KEYS[0], KEYS[2], KEYS[3]]
    assert keys_at(state, 10) == [KEYS[0], KEYS[2]]


def test_powers_stay_as_they_were() -> None:
    changed = block(start(), 1, KEYS[0]).validators_at(3)
    assert changed is not None
    assert [validator.power for validator in changed.validators] == [11, 12, 13]


def test_a_change_that_would_leave_nobody_is_not_applied() -> None:
    state = block(start(), 7, *KEYS)
    assert state == start()
    alone = block(start(), 7, *KEYS[:3])
    assert keys_at(alone, 9) == [KEYS[3]]
    assert block(alone, 8, KEYS[3]) == alone


def test_a_block_without_change_changes_nothing() -> None:
    assert block(start(), 7) == start()
    gone = block(start(), 7, KEYS[1])
    assert block(gone, 8, KEYS[1]) == gone


def test_sets_are_remembered_exactly_as_long_as_evidence_counts() -> None:
    state = block(start(), 7, KEYS[1])
    last_voted = 8  # The block of height 8 + AGE may still hold evidence against it.
    state = block(state, last_voted + EVIDENCE_AGE_HEIGHTS - 1)
    assert keys_at(state, last_voted) == KEYS
    state = block(state, last_voted + EVIDENCE_AGE_HEIGHTS)
    assert state.validators_at(last_voted) is None
    assert keys_at(state, last_voted + 1) == [KEYS[0], KEYS[2], KEYS[3]]
    assert len(state.sets) == 1
