"""Oracle signatures: cheap, and nobody forges them within a run."""

from __future__ import annotations

from functools import lru_cache

from p2pfed.primitives.digest import ZERO_DIGEST, sha256
from p2pfed.primitives.merkle import EMPTY_ROOT
from p2pfed.types.block import Header
from p2pfed.types.message import SignedMessage
from p2pfed.types.validators import ValidatorSet, validator_set

CHAIN_ID = sha256(b"a network of cores")


class OracleKey:
    """Signs by a keyed hash. Whoever lacks the object can't make its signatures."""

    __slots__ = ("_secret", "public")

    def __init__(self, number: int) -> None:
        self._secret = sha256(b"oracle" + number.to_bytes(4, "big"))
        self.public: bytes = b"\x02" + sha256(self._secret)

    def sign(self, digest: bytes) -> bytes:
        """Return 64 bytes that only this key makes of this digest."""
        tag = sha256(self._secret + digest)
        return tag + tag


class SignatureOracle:
    """Answers whether a signature is that of a key; each message is hashed once in a run."""

    def __init__(self, keys: tuple[OracleKey, ...]) -> None:
        self._keys = {key.public: key for key in keys}
        self._answers: dict[tuple[bytes, SignedMessage], bool] = {}

    def is_signed_by(self, message: SignedMessage, public: bytes, chain_id: bytes) -> bool:
        """Stand in for `SignedMessage.is_signed_by`."""
        place = (public, message)
        answer = self._answers.get(place)
        if answer is None:
            signature: bytes = message.signature  # type: ignore[attr-defined]
            answer = self._keys[public].sign(message.digest(chain_id)) == signature
            self._answers[place] = answer
        return answer


@lru_cache(maxsize=64)
def committee(powers: tuple[int, ...]) -> tuple[ValidatorSet, tuple[OracleKey, ...]]:
    """Return validators with these powers, by index, and their keys in the same order."""
    keys = tuple(sorted(map(OracleKey, range(len(powers))), key=lambda key: key.public))
    return validator_set((key.public, power) for key, power in zip(keys, powers, strict=True)), keys


def new_header(validators: ValidatorSet, height: int, round0: int, salt: int, proposer: int) -> Header:
    """Return a header that names no data; `salt` tells two values of one place apart."""
    zero, empty = ZERO_DIGEST, EMPTY_ROOT
    return Header(
        version=1, chain_id=CHAIN_ID, height=height, round0=round0, time_ms=salt,
        prev_header_hash=zero, prev_commit_hash=zero, train_index=0, flags=0,
        proposer=validators.validators[proposer].key, seed_reveal=b"", validators_hash=validators.hash,
        next_validators_hash=validators.hash, params_hash=zero, avail_root=empty, updates_root=empty,
        rule="", exponents_root=empty, aggregate_root=empty, model_root=empty, model_parent=0,
        scores_root=empty, transactions_root=empty, receipts_root=empty, state_root=zero,
        evidence_root=empty, extensions_root=empty, body_hash=empty,
    )  # fmt: skip
