"""Convictions: what a proven lie costs, once for each key and kind; who lie together pay together."""

# The arguments are the contract of a module, used or not.
# ruff: noqa: ARG001
from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import msgspec

from p2pfed.errors import InvalidTransaction
from p2pfed.ledger.module import Context, Convict, Expire, Offence, Pause, Payload, Slash, Tombstone
from p2pfed.primitives import codec
from p2pfed.types.message import Amount, Height, Message, PublicKey
from p2pfed.types.params import PARTICIPANTS_MAX, PAUSE_HEIGHTS, SLASH_WINDOW_HEIGHTS

name = "slashing"

# Lies that break agreement are one kind: a key is tombstoned once.
_AGAINST_AGREEMENT = (Offence.DUPLICATE_VOTE, Offence.AMNESIA, Offence.LIGHT_CLIENT_ATTACK)
_SHARES: Mapping[Offence, int] = {  # The others cost one part in so many.
    Offence.DUPLICATE_PROPOSAL: 200,
    Offence.INVALID_UPDATE: 100,
    Offence.DUPLICATE_UPDATE: 20,
    Offence.DUPLICATE_AVAIL: 200,
}
KINDS = len(_SHARES) + 1


class Conviction(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`key` lied about `height`, where it had `power` of `total_power`; `due` of it has been asked for."""

    key: PublicKey
    offence: Literal[1, 2, 3, 4, 5, 6, 7]
    height: Height
    power: Amount
    total_power: Amount
    due: Amount

    @property
    def is_against_agreement(self) -> bool:
        return self.offence in _AGAINST_AGREEMENT

    @property
    def kind(self) -> int:
        """The least offence of the same kind."""
        return kind_of(Offence(self.offence))


class SlashingState(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Convictions in ascending order of (key, kind).

    Tombstones stay for ever; the others while evidence of their height counts.
    """

    convictions: Annotated[tuple[Conviction, ...], msgspec.Meta(max_length=KINDS * PARTICIPANTS_MAX)]

    def has_convicted(self, key: bytes, offence: Offence) -> bool:
        """Answer whether `key` has paid for this kind of offence."""
        return any(entry.key == key and entry.kind == kind_of(offence) for entry in self.convictions)


def execute(
    payload: Convict | Expire, context: Context, state: SlashingState
) -> tuple[SlashingState, tuple[Payload, ...]]:
    """Convict a culprit, or forget what can't be convicted again.

    Raises:
        InvalidTransaction: Convicted of this kind before.
    """
    if isinstance(payload, Expire):
        kept = tuple(
            entry
            for entry in state.convictions
            if entry.is_against_agreement or entry.height >= payload.oldest
        )
        return SlashingState(kept), ()
    if state.has_convicted(payload.culprit, payload.offence):
        raise InvalidTransaction(
            f"{payload.culprit.hex()[:12]}… was convicted of E{payload.offence:d} before, or of its kind"
        )
    offence = payload.offence
    entry = Conviction(
        payload.culprit, offence.value, payload.height, payload.power, payload.total_power, due=0
    )
    if offence in _AGAINST_AGREEMENT:
        after, slashes = _correlated((*state.convictions, entry), _window(payload.height))
        return SlashingState(_ordered(after)), (*slashes, Tombstone(payload.culprit))
    due = max(1, payload.power // _SHARES[offence])
    after = (*state.convictions, msgspec.structs.replace(entry, due=due))
    calls: tuple[Payload, ...] = (Slash(payload.culprit, due),)
    if offence is Offence.INVALID_UPDATE:
        calls = (*calls, Pause(payload.culprit, context.height + PAUSE_HEIGHTS))
    return SlashingState(_ordered(after)), calls


def end_block(context: Context, state: SlashingState) -> tuple[SlashingState, tuple[Payload, ...]]:
    """Nothing falls due at the end of a block."""
    return state, ()


def leaves(state: SlashingState) -> Iterator[tuple[bytes, bytes]]:
    """Yield one leaf a conviction under its key and kind."""
    for entry in state.convictions:
        yield entry.key + bytes([entry.kind]), codec.encode(entry)


def correlated_penalty(power: int, convicted: int, total_power: int) -> int:
    """Return what a lie against agreement costs: 5 % alone, all of it where a third lied.

    Args:
        power: What the culprit voted with at the height of its lie, at least 1.
        convicted: The power of all that lied within the same window, the culprit included.
        total_power: Of everybody at the height of its lie.
    """
    return max(1, min(power, max(power // 20, 3 * power * convicted // total_power)))


def _correlated(
    convictions: tuple[Conviction, ...], window: int
) -> tuple[tuple[Conviction, ...], tuple[Slash, ...]]:
    """Return the convictions with what everybody of the window owes now, and what is still to be taken."""
    together = [
        entry for entry in convictions if entry.is_against_agreement and _window(entry.height) == window
    ]
    convicted = sum(entry.power for entry in together)
    after, slashes = [], []
    for entry in convictions:
        if entry in together:
            due = max(entry.due, correlated_penalty(entry.power, convicted, entry.total_power))
            if due > entry.due:
                slashes.append(Slash(entry.key, due - entry.due))
            entry = msgspec.structs.replace(entry, due=due)
        after.append(entry)
    return tuple(after), tuple(slashes)


def kind_of(offence: Offence) -> int:
    """Return the least offence of the same kind: all lies against agreement are one."""
    return min(_AGAINST_AGREEMENT).value if offence in _AGAINST_AGREEMENT else offence.value


def _window(height: int) -> int:
    return (height - 1) // SLASH_WINDOW_HEIGHTS


def _ordered(convictions: tuple[Conviction, ...]) -> tuple[Conviction, ...]:
    return tuple(sorted(convictions, key=lambda entry: (entry.key, entry.kind)))
