"""What a proven lie costs."""

from __future__ import annotations

import pytest

from p2pfed.errors import InvalidTransaction
from p2pfed.ledger.module import BurnBond, Convict, Leave, Offence, Tombstone
from p2pfed.ledger.modules import slashing
from p2pfed.ledger.modules.slashing import Conviction, SlashingState

A, B = bytes([2]) * 33, bytes([3]) * 33


def test_two_votes_cost_five_percent_and_the_place() -> None:
    after, calls = slashing.execute(Convict(B, Offence.DUPLICATE_VOTE, 9), A, 9, SlashingState(()))
    assert calls == (BurnBond(B, 1, 20), Tombstone(B), Leave(B))
    assert after.convictions == (Conviction(B, 1, 9),)


def test_two_proposals_cost_half_a_percent() -> None:
    after, calls = slashing.execute(Convict(B, Offence.DUPLICATE_PROPOSAL, 9), A, 9, SlashingState(()))
    assert calls == (BurnBond(B, 1, 200),)
    assert after.has_convicted(B, Offence.DUPLICATE_PROPOSAL)
    assert not after.has_convicted(B, Offence.DUPLICATE_VOTE)
    assert not after.has_convicted(A, Offence.DUPLICATE_PROPOSAL)


@pytest.mark.parametrize(
    ("offence", "denominator", "goes"),
    [
        (Offence.DUPLICATE_VOTE, 20, True),
        (Offence.AMNESIA, 20, True),
        (Offence.DUPLICATE_PROPOSAL, 200, False),
        (Offence.INVALID_UPDATE, 100, False),
        (Offence.DUPLICATE_UPDATE, 20, False),
        (Offence.DUPLICATE_AVAIL, 200, False),
    ],
)
def test_only_contradicting_votes_cost_the_place(offence: Offence, denominator: int, goes: bool) -> None:
    _, calls = slashing.execute(Convict(B, offence, 9), A, 9, SlashingState(()))
    assert calls == (BurnBond(B, 1, denominator), *((Tombstone(B), Leave(B)) if goes else ()))


@pytest.mark.parametrize("offence", list(Offence))
def test_a_key_is_convicted_of_an_offence_once(offence: Offence) -> None:
    state, _ = slashing.execute(Convict(B, offence, 9), A, 9, SlashingState(()))
    with pytest.raises(InvalidTransaction, match=f"of E{int(offence)} before"):
        slashing.execute(Convict(B, offence, 9), A, 10, state)


def test_convictions_have_one_order_whatever_came_first() -> None:
    convictions = [Convict(key, offence, 9) for key in (A, B) for offence in Offence]
    forward = backward = SlashingState(())
    for conviction in convictions:
        forward, _ = slashing.execute(conviction, A, 9, forward)
    for conviction in reversed(convictions):
        backward, _ = slashing.execute(conviction, A, 9, backward)
    assert forward == backward
    assert len(forward.convictions) == 2 * len(Offence)
