"""Validator sets by height: who votes now, who votes next, and who voted when old evidence was made."""

# The arguments are the contract of a module, used or not.
# ruff: noqa: ARG001
from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec

from p2pfed.ledger.module import Leave, Payload
from p2pfed.primitives import codec
from p2pfed.types.message import Height, Message, PublicKey
from p2pfed.types.params import EVIDENCE_AGE_HEIGHTS, VALIDATORS_MAX
from p2pfed.types.validators import ValidatorSet

name = "staking"

ACTIVATION_HEIGHTS = 2  # The output of block h is the set of height h + 2 (spec/consensus.md section 13).


class SetFrom(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The validator set from a height on, until the next entry."""

    from_height: Height
    validators: ValidatorSet


class StakingState(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Sets by ascending height, as far back as evidence counts; `leaving` is what this block removed."""

    sets: Annotated[tuple[SetFrom, ...], msgspec.Meta(min_length=1, max_length=VALIDATORS_MAX)]
    leaving: Annotated[tuple[PublicKey, ...], msgspec.Meta(max_length=VALIDATORS_MAX)]

    def validators_at(self, height: int) -> ValidatorSet | None:
        """Return the set that votes at `height`, None where it is forgotten."""
        entry = next((entry for entry in reversed(self.sets) if entry.from_height <= height), None)
        return entry.validators if entry else None


def execute(
    payload: Leave,
    sender: bytes,
    height: int,
    state: StakingState,
) -> tuple[StakingState, tuple[Payload, ...]]:
    """Note that a key leaves; the set changes when the block ends."""
    leaving = tuple(sorted({*state.leaving, payload.key}))
    return msgspec.structs.replace(state, leaving=leaving), ()


def end_block(height: int, state: StakingState) -> StakingState:
    """Fix the set of `height + 2` and forget sets that no evidence of the next block can need."""
    current = state.sets[-1].validators
    staying = tuple(validator for validator in current.validators if validator.key not in state.leaving)
    sets = state.sets
    # A change that would leave nobody is not applied: a dead network helps no one.
    if staying and len(staying) < len(current):
        sets = (*sets, SetFrom(height + ACTIVATION_HEIGHTS, ValidatorSet(staying)))
    oldest = height + 1 - EVIDENCE_AGE_HEIGHTS
    first = max((place for place, entry in enumerate(sets) if entry.from_height <= oldest), default=0)
    return StakingState(sets[first:], ())


def leaves(state: StakingState) -> Iterator[tuple[bytes, bytes]]:
    """Yield one leaf a set under its height, and the keys that leave."""
    yield b"leaving", codec.encode(state.leaving)
    for entry in state.sets:
        yield b"set/" + entry.from_height.to_bytes(8, "big"), codec.encode(entry.validators)
