"""Who a pile of messages convicts."""

from __future__ import annotations

import pytest

from p2pfed.sim.cores.convict import Signed, offences
from p2pfed.types.proposal import Proposal
from p2pfed.types.vote import Precommit, Prevote

V, W, SIGNATURE = b"v" * 32, b"w" * 32, bytes(64)


def prevote(
    round_: int, value: bytes | None, valid_round: int = -1, index: int = 0, height: int = 1
) -> Prevote:
    return Prevote(height, round_, value, valid_round, index, SIGNATURE)


def precommit(round_: int, value: bytes | None, index: int = 0, height: int = 1) -> Precommit:
    return Precommit(height, round_, value, index, SIGNATURE)


def proposal(round_: int, value: bytes, valid_round: int = -1) -> Proposal:
    return Proposal(1, round_, value, valid_round, 0, SIGNATURE)


@pytest.mark.parametrize(
    ("messages", "found"),
    [
        ([prevote(0, V), prevote(0, W)], {"E1"}),
        ([prevote(1, V), prevote(1, V, 0)], {"E1"}),
        ([prevote(0, V), prevote(0, None)], {"E1"}),
        ([precommit(0, V), precommit(0, None)], {"E1"}),
        ([proposal(0, V), proposal(0, W)], {"E3"}),
        ([precommit(0, V), prevote(1, W)], {"E2"}),
        ([precommit(1, V), prevote(2, V, 0)], {"E2"}),  # The same value is no excuse.
    ],
)
def test_a_lie_convicts(messages: list[Signed], found: set[str]) -> None:
    assert offences(messages) == {0: found}


@pytest.mark.parametrize(
    "messages",
    [
        [prevote(0, V), precommit(0, V)],
        [prevote(0, V), prevote(0, V)],
        [prevote(0, V), prevote(1, W)],
        [prevote(0, V), prevote(0, W, index=1)],
        [prevote(0, V), prevote(0, W, height=2)],
        [precommit(0, V), prevote(1, None)],
        [precommit(0, None), prevote(1, W)],
        [precommit(0, V), prevote(1, W, 0)],  # A polka of the round of the lock frees it.
        [precommit(1, V), prevote(0, W)],
        [precommit(0, V), prevote(1, W, index=1)],
        [proposal(0, V), proposal(1, W)],
    ],
)
def test_what_a_correct_validator_may_say_convicts_nobody(messages: list[Signed]) -> None:
    assert offences(messages) == {}
