"""Who trained: each trainer's last base height, the last update set, older models, who has to sit out."""

# The arguments are the contract of a module, used or not.
from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from operator import attrgetter
from typing import Annotated

import msgspec

from p2pfed.ledger.module import BaseModel, Context, CountUpdates, Pause, Payload
from p2pfed.primitives import codec
from p2pfed.types.message import Height, Message, PublicKey
from p2pfed.types.params import PARTICIPANTS_MAX, UPDATE_LAG_MAX

name = "training"


class LastBase(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The base height of the last update of `key` that counted or was dropped as one of two."""

    key: PublicKey
    base_height: Height


class PausedUntil(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`key` may not train up to the block of this height."""

    key: PublicKey
    height: Height


class TrainingState(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`last_bases` by ascending key; `last_trainers` is the update set of the last height not EMPTY.

    `bases` are the models before the last one that updates of the next block may be from, ascending.
    """

    last_bases: Annotated[tuple[LastBase, ...], msgspec.Meta(max_length=PARTICIPANTS_MAX)]
    last_trainers: Annotated[tuple[PublicKey, ...], msgspec.Meta(max_length=PARTICIPANTS_MAX)]
    paused: Annotated[tuple[PausedUntil, ...], msgspec.Meta(max_length=PARTICIPANTS_MAX)]
    bases: Annotated[tuple[BaseModel, ...], msgspec.Meta(max_length=UPDATE_LAG_MAX - 1)] = ()

    def last_base(self, key: bytes) -> int:
        """Return the last base height of `key` that is used up, -1 for none."""
        place = bisect_left(self.last_bases, key, key=attrgetter("key"))
        is_there = place < len(self.last_bases) and self.last_bases[place].key == key
        return self.last_bases[place].base_height if is_there else -1

    def is_paused(self, key: bytes, height: int) -> bool:
        """Answer whether no update of `key` may stand in the block of `height`."""
        return any(entry.key == key and height <= entry.height for entry in self.paused)


def execute(
    payload: CountUpdates | Pause, context: Context, state: TrainingState
) -> tuple[TrainingState, tuple[Payload, ...]]:
    """Note the update set of a height, so that no update counts twice; or that a trainer has to sit out."""
    if isinstance(payload, Pause):
        others = (entry for entry in state.paused if entry.key != payload.key)
        paused = sorted(
            (*others, PausedUntil(payload.key, payload.until_height)), key=lambda entry: entry.key
        )
        return msgspec.structs.replace(state, paused=tuple(paused)), ()
    bases = {entry.key: entry.base_height for entry in state.last_bases}
    for key, base_height in (*payload.counted, *payload.dropped):
        assert bases.get(key, -1) < base_height
        bases[key] = base_height
    last_bases = tuple(LastBase(key, bases[key]) for key in sorted(bases))
    counted = tuple(key for key, _ in payload.counted)
    last_trainers = state.last_trainers if payload.is_empty else counted
    older = context.params.update_lag - 1
    return msgspec.structs.replace(
        state,
        last_bases=last_bases,
        last_trainers=last_trainers,
        bases=(*state.bases, payload.base)[-older:] if older else (),
    ), ()


def end_block(context: Context, state: TrainingState) -> tuple[TrainingState, tuple[Payload, ...]]:
    """Forget pauses that are over."""
    paused = tuple(entry for entry in state.paused if context.height < entry.height)
    return msgspec.structs.replace(state, paused=paused), ()


def leaves(state: TrainingState) -> Iterator[tuple[bytes, bytes]]:
    """Yield one leaf a trainer under its key, who has to sit out, and the last update set."""
    yield b"last_trainers", codec.encode(state.last_trainers)
    yield b"paused", codec.encode(state.paused)
    if state.bases:
        yield b"bases", codec.encode(state.bases)
    for entry in state.last_bases:
        yield entry.key, codec.encode(entry.base_height)
