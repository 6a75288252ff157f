"""Who trained: the last base height of each trainer, and who was in the last update set."""

# The arguments are the contract of a module, used or not.
# ruff: noqa: ARG001
from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec

from p2pfed.ledger.module import CountUpdates, Payload
from p2pfed.primitives import codec
from p2pfed.types.message import Height, Message, PublicKey
from p2pfed.types.params import PARTICIPANTS_MAX

name = "training"


class LastBase(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The base height of the last update of `key` that counted or was dropped as one of two."""

    key: PublicKey
    base_height: Height


class TrainingState(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`last_bases` by ascending key; `last_trainers` is the update set of the last height not EMPTY."""

    last_bases: Annotated[tuple[LastBase, ...], msgspec.Meta(max_length=PARTICIPANTS_MAX)]
    last_trainers: Annotated[tuple[PublicKey, ...], msgspec.Meta(max_length=PARTICIPANTS_MAX)]

    def last_base(self, key: bytes) -> int:
        """Return the last base height of `key` that is used up, -1 for none."""
        return next((entry.base_height for entry in self.last_bases if entry.key == key), -1)


def execute(
    payload: CountUpdates,
    sender: bytes,
    height: int,
    state: TrainingState,
) -> tuple[TrainingState, tuple[Payload, ...]]:
    """Note the update set of a height, so that no update counts twice."""
    bases = {entry.key: entry.base_height for entry in state.last_bases}
    for key in (*payload.counted, *payload.dropped):
        assert bases.get(key, -1) < payload.base_height
        bases[key] = payload.base_height
    last_bases = tuple(LastBase(key, bases[key]) for key in sorted(bases))
    return TrainingState(last_bases, state.last_trainers if payload.is_empty else payload.counted), ()


def end_block(height: int, state: TrainingState) -> TrainingState:
    """Nothing falls due at the end of a block."""
    return state


def leaves(state: TrainingState) -> Iterator[tuple[bytes, bytes]]:
    """Yield one leaf a trainer under its key, and the last update set."""
    yield b"last_trainers", codec.encode(state.last_trainers)
    for entry in state.last_bases:
        yield entry.key, codec.encode(entry.base_height)
