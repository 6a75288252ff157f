"""Follow a chain by few of its headers (spec/light.md): a machine asks for heights and is told blocks."""

from __future__ import annotations

from itertools import pairwise

from msgspec import Struct
from msgspec.structs import replace

from p2pfed.consensus.certificates import verify_commit
from p2pfed.consensus.quorum import has_honest_voice
from p2pfed.errors import InvalidLightBlock, LocalError, MalformedMessage
from p2pfed.primitives.digest import ZERO_DIGEST
from p2pfed.types.bitmap import indices_of
from p2pfed.types.genesis import Genesis
from p2pfed.types.light import LightBlock
from p2pfed.types.params import CLOCK_DRIFT_MS
from p2pfed.types.validators import ValidatorSet

HOUR_MS = 3_600_000


class TrustExpired(LocalError):
    """What is trusted is so old that who signed it may have taken its bond home since."""


class CheckpointConflict(LocalError):
    """The chain that was found has another block where the checkpoint names one."""


class Rules(Struct, frozen=True):
    """What a light client holds every header of one network to. Times in ms."""

    chain_id: bytes
    trusting_ms: int  # Two thirds of the unbonding period: a liar is still bonded when it is found out.
    params_hash: bytes  # Of genesis: who signs another one lies.


class Trusted(Struct, frozen=True):
    """A final block as far as later ones hang on it, or genesis, whose `value_id` is zeros."""

    height: int
    time_ms: int
    value_id: bytes
    next_validators: ValidatorSet  # Who decides the block of `height + 1`.


class Search(Struct, frozen=True):
    """The way to a height: what is trusted, and claims above it that are too far away to judge yet.

    `pending` has the nearest claim last. Each is half as far away as the one before it, so there are at most
    63 of them.
    """

    trusted: Trusted
    target: int
    pending: tuple[LightBlock, ...] = ()

    @property
    def wanted(self) -> int | None:
        """The height to ask for next; None where `target` is reached."""
        if self.pending:
            return (self.trusted.height + self.pending[-1].header.height) // 2
        return self.target if self.trusted.height < self.target else None


def rules_of(genesis: Genesis) -> Rules:
    """Return the rules of the network that `genesis` founds."""
    return Rules(genesis.chain_id, 2 * genesis.params.unbonding_ms // 3, genesis.params_hash)


def trusted_genesis(genesis: Genesis) -> Trusted:
    """Return the start of the chain: nothing is signed, the chain id names it."""
    return Trusted(genesis.height, genesis.time_ms, ZERO_DIGEST, genesis.validators)


def trusted_block(block: LightBlock) -> Trusted:
    """Return what later blocks hang on of a block that is verified."""
    header = block.header
    return Trusted(header.height, header.time_ms, header.value_id, block.next_validators)


def trusted_checkpoint(block: LightBlock, height: int, value_id: bytes, rules: Rules, now_ms: int) -> Trusted:
    """Return the start that a person named by height and hash.

    Raises:
        InvalidLightBlock, InvalidCertificate: This copy is no final block of that height: blame who sent it.
        CheckpointConflict: It is another one than the person named.
        TrustExpired: It is older than the trusting period.
    """
    verify_form(block, height, rules, now_ms)
    verify_commit(block.commit, block.validators, rules.chain_id)
    trusted = trusted_block(block)
    conflict = checkpoint_conflict((height, value_id), trusted.value_id)
    if conflict is not None:
        raise conflict
    verify_age(trusted, rules, now_ms)
    return trusted


def checkpoint_conflict(checkpoint: tuple[int, bytes], value_id: bytes) -> CheckpointConflict | None:
    """Return the failure where the block of the checkpoint's height has another hash, else None."""
    height, named = checkpoint
    if value_id == named:
        return None
    return CheckpointConflict(
        f"the block of height {height} is {value_id.hex()}, --checkpoint says {named.hex()}; "
        "one of the two is false: ask somebody else for both before you go on"
    )


def tell(
    search: Search, block: LightBlock, rules: Rules, now_ms: int
) -> tuple[Search, tuple[LightBlock, ...]]:
    """Take in the block of `search.wanted`; return the new search and what is verified now, ascending.

    Raises:
        InvalidLightBlock, InvalidCertificate: It can't be of this chain, or a claim above it can't: blame who
            sent them.
        TrustExpired: What is trusted is too old to judge by.
    """
    assert search.wanted is not None
    verify_age(search.trusted, rules, now_ms)
    verify_form(block, search.wanted, rules, now_ms)
    trusted, pending, verified = search.trusted, [*search.pending, block], []
    while pending and is_near(trusted, pending[-1]):
        nearest = pending.pop()
        verify_follows(trusted, nearest)
        verify_commit(nearest.commit, nearest.validators, rules.chain_id)
        verified.append(nearest)
        trusted = trusted_block(nearest)
    return replace(search, trusted=trusted, pending=tuple(pending)), tuple(verified)


def verify_age(trusted: Trusted, rules: Rules, now_ms: int) -> None:
    """Raise TrustExpired unless now < time + trusting period."""
    age_ms = now_ms - trusted.time_ms
    if age_ms >= rules.trusting_ms:
        what = f"the block of height {trusted.height}" if trusted.value_id != ZERO_DIGEST else "genesis"
        raise TrustExpired(
            f"{what} is {age_ms // HOUR_MS} h old ({trusted.time_ms} ms, now {now_ms} ms) and can be "
            f"trusted for {rules.trusting_ms // HOUR_MS} h: name a younger block that somebody you trust "
            "has seen, with --checkpoint HEIGHT:HASH"
        )


def verify_form(block: LightBlock, height: int, rules: Rules, now_ms: int) -> None:
    """Check all that needs neither a signature nor another block; raise InvalidLightBlock.

    A set must be in canonical order: a key that stood in it twice would sign with twice its power.
    """
    header, commit = block.header, block.commit
    _require("chain_id", header.chain_id, rules.chain_id)
    _require("height", header.height, height)
    _require("height of the certificate", commit.height, height)
    _require("value of the certificate", commit.value_id, header.value_id)
    _require("validators_hash", header.validators_hash, block.validators.hash)
    _require("next_validators_hash", header.next_validators_hash, block.next_validators.hash)
    for validators in (block.validators, block.next_validators):
        keys = [validator.key for validator in validators.validators]
        if any(first >= second for first, second in pairwise(keys)):
            raise InvalidLightBlock(f"a validator set of height {height} is not in ascending order of keys")
    if header.time_ms > now_ms + CLOCK_DRIFT_MS:
        raise InvalidLightBlock(
            f"block {height} is from {header.time_ms} ms, more than {CLOCK_DRIFT_MS} ms after {now_ms} ms"
        )


def is_near(trusted: Trusted, block: LightBlock) -> bool:
    """Answer whether `block` can be judged from `trusted`: it is the next one, or an honest validator signed.

    Those who signed must hold more than a third of the set that decides the block after `trusted`; whether
    their signatures are good is checked after this.
    """
    if block.header.height == trusted.height + 1:
        return True
    known = trusted.next_validators
    try:
        signers = indices_of(block.commit.bitmap, len(block.validators))
    except MalformedMessage as error:
        raise InvalidLightBlock(f"the certificate of block {block.header.height}: {error}") from None
    places = (known.index_of(block.validators.validators[signer].key) for signer in signers)
    power = known.power_of(place for place in places if place is not None)
    return has_honest_voice(power, known.total_power)


def verify_follows(trusted: Trusted, block: LightBlock) -> None:
    """Raise InvalidLightBlock unless `block` can come after `trusted`, as far as no signature tells."""
    header = block.header
    if header.time_ms <= trusted.time_ms:
        raise InvalidLightBlock(
            f"block {header.height} is from {header.time_ms} ms, "
            f"not after {trusted.time_ms} ms of block {trusted.height}"
        )
    if header.height == trusted.height + 1:
        _require("validators_hash", header.validators_hash, trusted.next_validators.hash)
        _require("prev_header_hash", header.prev_header_hash, trusted.value_id)


def _require(name: str, claimed: bytes | int, expected: bytes | int) -> None:
    if claimed != expected:
        raise InvalidLightBlock(f"{name} is {_shown(claimed)} where {_shown(expected)} is expected")


def _shown(value: bytes | int) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
