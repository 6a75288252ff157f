"""A chain of headers and validator sets without bodies, made and honestly signed where somebody looks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from p2pfed.chain.light import Rules, Search, Trusted, tell
from p2pfed.primitives.digest import ZERO_DIGEST, sha256
from p2pfed.primitives.keys import PrivateKey
from p2pfed.primitives.merkle import EMPTY_ROOT
from p2pfed.types.bitmap import bitmap_of
from p2pfed.types.block import Header
from p2pfed.types.certificate import CommitCert
from p2pfed.types.light import LightBlock
from p2pfed.types.validators import ValidatorSet, validator_set
from p2pfed.types.vote import Precommit

CHAIN_ID = sha256(b"a chain to be followed")
START_MS = 1_700_000_000_000
DAY_MS = 24 * 3_600_000
RULES = Rules(CHAIN_ID, 2 * DAY_MS, EMPTY_ROOT)
BLANK = bytes(64)

Powers = Sequence[tuple[int, int]]  # (number of a member, its power)


@lru_cache(maxsize=1 << 16)
def member(number: int) -> PrivateKey:
    return PrivateKey((number + 1).to_bytes(32, "big"))


@lru_cache
def blank_header() -> Header:
    """Return a header of height 0 in which every root is empty."""
    fields = dict.fromkeys((field.name for field in msgspec.structs.fields(Header)), EMPTY_ROOT)
    numbers = dict.fromkeys(("height", "round0", "time_ms", "train_index", "flags", "model_parent"), 0)
    others = {"version": 1, "chain_id": CHAIN_ID, "proposer": bytes(33), "seed_reveal": b"", "rule": "mean"}
    return Header(**(fields | numbers | others))


def powers_to_set(powers: Powers) -> ValidatorSet:
    return _set(tuple(powers))


@lru_cache(maxsize=4096)
def _set(powers: tuple[tuple[int, int], ...]) -> ValidatorSet:
    return validator_set((member(number).public, power) for number, power in powers)


def numbers(validators: ValidatorSet, powers: Powers) -> list[int]:
    """Return the members of a set in the set's order."""
    by_key = {member(number).public: number for number, _ in powers}
    return [by_key[validator.key] for validator in validators.validators]


class LightChain:
    """A chain whose sets are `powers(height)`.

    `is_linked` makes every header name the one before it, so the headers below are made first; a chain whose
    sets never change is never looked at that closely.
    """

    def __init__(
        self, powers: Callable[[int], Powers], *, step_ms: int = 1000, is_linked: bool = True
    ) -> None:
        self.powers = powers
        self.step_ms = step_ms
        self.is_linked = is_linked
        self._hashes = {0: ZERO_DIGEST}

    @property
    def genesis(self) -> Trusted:
        return Trusted(0, START_MS, ZERO_DIGEST, self.validators(1))

    def validators(self, height: int) -> ValidatorSet:
        return powers_to_set(self.powers(height))

    def value_id(self, height: int) -> bytes:
        for below in range(len(self._hashes), height + 1):
            self._hashes[below] = self.header(below).value_id
        return self._hashes[height]

    def header(self, height: int, **changes: Any) -> Header:
        validators = self.validators(height)
        fields = {
            "height": height,
            "time_ms": START_MS + height * self.step_ms,
            "prev_header_hash": self.value_id(height - 1) if self.is_linked else ZERO_DIGEST,
            "proposer": validators.validators[0].key,
            "validators_hash": validators.hash,
            "next_validators_hash": self.validators(height + 1).hash,
            "model_parent": height - 1,
        }
        return msgspec.structs.replace(blank_header(), **(fields | changes))

    def block(self, height: int, signers: Sequence[int] | None = None, **changes: Any) -> LightBlock:
        """Return a block signed by everybody, or by the members `signers` as far as they are in the set."""
        header = self.header(height, **changes)
        return certified(header, self.powers(height), self.validators(height + 1), signers)


def certified(
    header: Header,
    powers: Powers,
    next_validators: ValidatorSet,
    signers: Sequence[int] | None = None,
    round_: int = 0,
) -> LightBlock:
    """Return `header` with a certificate of its height by `signers` (default: all) of the set `powers`."""
    validators = powers_to_set(powers)
    order = numbers(validators, powers)
    places = [place for place, number in enumerate(order) if signers is None or number in signers]
    value_id, signatures = header.value_id, []
    for place in places:
        vote = Precommit(header.height, round_, value_id, place, BLANK)
        signatures.append(member(order[place]).sign(vote.digest(header.chain_id)))
    commit = CommitCert(
        header.height, round_, value_id, bitmap_of(places, len(validators)), tuple(signatures)
    )
    return LightBlock(header, commit, validators, next_validators)


def follow(
    serve: Callable[[int], LightBlock], start: Trusted, target: int, now_ms: int, rules: Rules = RULES
) -> tuple[Trusted, list[LightBlock], int]:
    """Run the machine to its end; return what is trusted, what was verified, and how often it asked."""
    search, verified, asked = Search(start, target), [], 0
    while (wanted := search.wanted) is not None:
        asked += 1
        search, more = tell(search, serve(wanted), rules, now_ms)
        verified += more
    return search.trusted, verified, asked
