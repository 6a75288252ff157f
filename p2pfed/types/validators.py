"""Validator sets: who votes at a height, with how much power."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Annotated

import msgspec

from p2pfed.primitives import codec
from p2pfed.primitives.digest import tagged
from p2pfed.types.message import Message, PublicKey
from p2pfed.types.params import STAKE_TOTAL_MAX, VALIDATORS_MAX

Power = Annotated[int, msgspec.Meta(ge=1, le=STAKE_TOTAL_MAX)]


class Validator(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A voter and its power."""

    key: PublicKey
    power: Power


class ValidatorSet(
    Message, frozen=True, array_like=True, forbid_unknown_fields=True, dict=True, cache_hash=True
):
    """Validators in ascending order of key; a validator's index is its place here.

    It is the key of the table of proposers, so its hash is kept.
    """

    validators: Annotated[tuple[Validator, ...], msgspec.Meta(min_length=1, max_length=VALIDATORS_MAX)]

    @cached_property
    def total_power(self) -> int:
        return sum(validator.power for validator in self.validators)

    @cached_property
    def hash(self) -> bytes:
        return tagged("vals", codec.encode(self))

    @cached_property
    def _index_by_key(self) -> dict[bytes, int]:
        return {validator.key: index for index, validator in enumerate(self.validators)}

    def __len__(self) -> int:
        return len(self.validators)

    def index_of(self, key: bytes) -> int | None:
        """Return the place of `key`, or None."""
        return self._index_by_key.get(key)

    def power_of(self, indices: Iterable[int]) -> int:
        """Return the summed power of distinct `indices`."""
        return sum([self.validators[index].power for index in indices])


def validator_set(powers: Iterable[tuple[bytes, int]]) -> ValidatorSet:
    """Return the set of (key, power) pairs in its canonical order."""
    return ValidatorSet(tuple(Validator(key, power) for key, power in sorted(powers)))
