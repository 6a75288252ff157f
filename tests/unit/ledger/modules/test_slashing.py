"""What a proven lie costs."""

from __future__ import annotations

import pytest
from support.chain import make_genesis

from p2pfed.errors import InvalidTransaction
from p2pfed.ledger.module import Context, Convict, Expire, Offence, Pause, Payload, Slash, Tombstone
from p2pfed.ledger.modules import slashing
from p2pfed.ledger.modules.slashing import Conviction, SlashingState, correlated_penalty

A, B, C = (bytes([2]) + bytes(31) + bytes([place]) for place in range(3))
GENESIS = make_genesis([1])
CONTEXT = Context(GENESIS.chain_id, GENESIS.params, 9, 1, A)
NOBODY = SlashingState(())
POWER, TOTAL = 1000, 10_000
AGAINST_AGREEMENT = (Offence.DUPLICATE_VOTE, Offence.AMNESIA, Offence.LIGHT_CLIENT_ATTACK)


def convict(
    state: SlashingState,
    key: bytes,
    offence: Offence,
    height: int = 9,
    power: int = POWER,
    total: int = TOTAL,
) -> tuple[SlashingState, tuple[Payload, ...]]:
    return slashing.execute(Convict(key, offence, height, power, total), CONTEXT, state)


def test_a_lone_double_vote_costs_five_percent_where_it_weighs_little() -> None:
    after, calls = convict(NOBODY, B, Offence.DUPLICATE_VOTE, power=100)
    assert calls == (Slash(B, 5), Tombstone(B))
    assert after.convictions == (Conviction(B, 1, 9, 100, TOTAL, 5),)


def test_who_lie_together_pay_together_and_the_first_is_topped_up() -> None:
    state, calls = convict(NOBODY, A, Offence.DUPLICATE_VOTE)
    assert calls == (Slash(A, 300), Tombstone(A))  # A tenth of the stake: 3 * 1000 * 1000 div 10,000.
    state, calls = convict(state, B, Offence.AMNESIA, height=60)
    assert calls == (Slash(A, 300), Slash(B, 600), Tombstone(B))
    state, calls = convict(state, C, Offence.DUPLICATE_VOTE, height=10, power=1334)
    assert calls == (Slash(A, 400), Slash(B, 400), Slash(C, 1334), Tombstone(C))
    assert [entry.due for entry in state.convictions] == [1000, 1000, 1334]  # A third lied: all of it.


def test_who_owes_no_more_than_before_is_not_asked_again() -> None:
    state, _ = convict(NOBODY, A, Offence.DUPLICATE_VOTE, power=100)
    _, calls = convict(state, B, Offence.DUPLICATE_VOTE, power=1)
    assert calls == (Slash(B, 1), Tombstone(B))


def test_lies_of_different_windows_are_apart() -> None:
    state, _ = convict(NOBODY, A, Offence.DUPLICATE_VOTE, height=64)
    _, calls = convict(state, B, Offence.DUPLICATE_VOTE, height=65)
    assert calls == (Slash(B, 300), Tombstone(B))


def test_the_order_of_convictions_changes_nothing() -> None:
    def total(order: tuple[bytes, ...]) -> tuple[SlashingState, dict[bytes, int]]:
        state, paid = NOBODY, dict.fromkeys((A, B, C), 0)
        for key in order:
            state, calls = convict(state, key, Offence.DUPLICATE_VOTE, power=700 + key[-1])
            for call in calls:
                if isinstance(call, Slash):
                    paid[call.key] += call.amount
        return state, paid

    assert total((A, B, C)) == total((C, A, B)) == total((B, C, A))


@pytest.mark.parametrize(
    ("power", "convicted", "total", "penalty"),
    [
        (1, 1, 1000, 1),  # Less than one unit costs one.
        (100, 100, 10_000, 5),
        (100, 166, 10_000, 5),
        (100, 200, 10_000, 6),
        (100, 3333, 10_000, 99),
        (100, 3334, 10_000, 100),
        (100, 10_000, 10_000, 100),
    ],
)
def test_the_correlated_penalty(power: int, convicted: int, total: int, penalty: int) -> None:
    assert correlated_penalty(power, convicted, total) == penalty


@pytest.mark.parametrize(
    ("offence", "penalty"),
    [
        (Offence.DUPLICATE_PROPOSAL, 5),
        (Offence.INVALID_UPDATE, 10),
        (Offence.DUPLICATE_UPDATE, 50),
        (Offence.DUPLICATE_AVAIL, 5),
    ],
)
def test_lesser_lies_cost_a_share_of_what_voted(offence: Offence, penalty: int) -> None:
    state, calls = convict(NOBODY, B, offence)
    rest = (Pause(B, 19),) if offence is Offence.INVALID_UPDATE else ()
    assert calls == (Slash(B, penalty), *rest)
    assert state.convictions[0].due == penalty
    assert state.has_convicted(B, offence)
    assert not state.has_convicted(A, offence)
    _, calls = convict(NOBODY, B, offence, power=3)
    assert calls[0] == Slash(B, 1)


@pytest.mark.parametrize("offence", list(Offence))
def test_a_key_is_convicted_of_a_kind_once(offence: Offence) -> None:
    state, _ = convict(NOBODY, B, offence)
    with pytest.raises(InvalidTransaction, match=f"of E{int(offence)} before"):
        convict(state, B, offence, height=100)


@pytest.mark.parametrize("first", AGAINST_AGREEMENT)
@pytest.mark.parametrize("second", AGAINST_AGREEMENT)
def test_a_key_is_tombstoned_once_whatever_it_did_to_the_vote(first: Offence, second: Offence) -> None:
    state, _ = convict(NOBODY, B, first)
    with pytest.raises(InvalidTransaction, match="or of its kind"):
        convict(state, B, second)


def test_only_tombstones_are_remembered_for_ever() -> None:
    state = NOBODY
    for offence in (1, 3, 5, 6, 7):
        state, _ = convict(state, B, Offence(offence))
    assert slashing.execute(Expire(9), CONTEXT, state) == (state, ())
    state, _ = slashing.execute(Expire(10), CONTEXT, state)
    assert [entry.offence for entry in state.convictions] == [1]
    convict(state, B, Offence.INVALID_UPDATE, height=12)


def test_convictions_have_one_order_whatever_came_first() -> None:
    convictions = [(key, Offence(number)) for key in (A, B) for number in (1, 3, 5, 6, 7)]
    forward = backward = NOBODY
    for key, offence in convictions:
        forward, _ = convict(forward, key, offence)
    for key, offence in reversed(convictions):
        backward, _ = convict(backward, key, offence)
    assert forward == backward
    assert len(forward.convictions) == len(convictions)


def test_each_conviction_of_a_key_has_a_leaf_of_its_own() -> None:
    state, _ = convict(NOBODY, B, Offence.DUPLICATE_VOTE)
    state, _ = convict(state, B, Offence.INVALID_UPDATE)
    assert [key for key, _ in slashing.leaves(state)] == [B + b"\x01", B + b"\x05"]
