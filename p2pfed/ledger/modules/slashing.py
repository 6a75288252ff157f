"""Convictions: what a proven lie costs, once for each key and kind of lie."""

# The arguments are the contract of a module, used or not.
# ruff: noqa: ARG001
from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from p2pfed.errors import InvalidTransaction
from p2pfed.ledger.module import BurnBond, Convict, Leave, Offence, Payload, Tombstone
from p2pfed.primitives import codec
from p2pfed.types.message import Height, Message, PublicKey
from p2pfed.types.params import PARTICIPANTS_MAX

name = "slashing"


class Conviction(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`key` was convicted of `offence` by the block of `height`."""

    key: PublicKey
    offence: Literal[1, 2, 3, 4, 5, 6, 7]
    height: Height


class SlashingState(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Convictions in ascending order of (key, offence)."""

    convictions: Annotated[tuple[Conviction, ...], msgspec.Meta(max_length=7 * PARTICIPANTS_MAX)]

    def has_convicted(self, key: bytes, offence: Offence) -> bool:
        """Answer whether `key` has paid for this offence."""
        return any(entry.key == key and entry.offence == offence for entry in self.convictions)


def execute(
    payload: Convict,
    sender: bytes,
    height: int,
    state: SlashingState,
) -> tuple[SlashingState, tuple[Payload, ...]]:
    """Convict the culprit.

    Votes that contradict each other (E1, E2) cost 5 % of the bond and the right to vote and train, a second
    update (E6) 5 %, an invalid one (E5) 1 %, a second proposal or availability vote (E3, E7) 0.5 %. All of it
    is burned: the reporter is the proposer, and a liar that proposes would be paid to report itself.

    Raises:
        InvalidTransaction: Convicted of this before.
    """
    if state.has_convicted(payload.culprit, payload.offence):
        raise InvalidTransaction(
            f"{payload.culprit.hex()[:12]}… was convicted of E{payload.offence:d} before"
        )
    entry = Conviction(payload.culprit, payload.offence.value, height)
    convictions = tuple(sorted((*state.convictions, entry), key=lambda entry: (entry.key, entry.offence)))
    return SlashingState(convictions), _penalties(payload)


def end_block(height: int, state: SlashingState) -> SlashingState:
    """Nothing falls due at the end of a block."""
    return state


def leaves(state: SlashingState) -> Iterator[tuple[bytes, bytes]]:
    """Yield one leaf a conviction under its key and offence."""
    for entry in state.convictions:
        yield entry.key + bytes([entry.offence]), codec.encode(entry.height)


def _penalties(payload: Convict) -> tuple[Payload, ...]:
    match payload.offence:
        case Offence.DUPLICATE_VOTE | Offence.AMNESIA | Offence.LIGHT_CLIENT_ATTACK:
            return BurnBond(payload.culprit, 1, 20), Tombstone(payload.culprit), Leave(payload.culprit)
        case Offence.DUPLICATE_PROPOSAL | Offence.DUPLICATE_AVAIL:
            return (BurnBond(payload.culprit, 1, 200),)
        case Offence.INVALID_UPDATE:
            return (BurnBond(payload.culprit, 1, 100),)
        case Offence.DUPLICATE_UPDATE:
            return (BurnBond(payload.culprit, 1, 20),)
