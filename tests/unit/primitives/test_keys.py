"""Signatures: the same digest gives the same bytes, a second library agrees, and high S is refused."""

from __future__ import annotations

import hashlib

import ecdsa
import pytest
from ecdsa.util import sigdecode_string, sigencode_string_canonize
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pfed.errors import BadSignature, LocalError
from p2pfed.primitives.keys import PrivateKey, has_valid_signature, is_public_key, verify_signature

ORDER = ecdsa.SECP256k1.order
KEY = PrivateKey(b"\x07" * 32)
DIGEST = hashlib.sha256(b"a vote").digest()


@settings(max_examples=10, deadline=None)
@given(st.integers(1, ORDER - 1), st.binary(min_size=32, max_size=32))
def test_two_libraries_sign_the_same_bytes(secret: int, digest: bytes) -> None:
    key = PrivateKey(secret.to_bytes(32, "big"))
    other = ecdsa.SigningKey.from_secret_exponent(secret, ecdsa.SECP256k1)
    signature = key.sign(digest)
    assert signature == other.sign_digest_deterministic(
        digest, hashfunc=hashlib.sha256, sigencode=sigencode_string_canonize
    )
    assert key.public == other.verifying_key.to_string("compressed")
    assert other.verifying_key.verify_digest(signature, digest, sigdecode=sigdecode_string)
    assert has_valid_signature(key.public, digest, signature)


def test_the_other_half_of_a_signature_is_refused() -> None:
    signature = KEY.sign(DIGEST)
    high = signature[:32] + (ORDER - int.from_bytes(signature[32:], "big")).to_bytes(32, "big")
    assert has_valid_signature(KEY.public, DIGEST, signature)
    assert not has_valid_signature(KEY.public, DIGEST, high)


@pytest.mark.parametrize("place", range(64))
def test_a_changed_byte_breaks_a_signature(place: int) -> None:
    damaged = bytearray(KEY.sign(DIGEST))
    damaged[place] ^= 1
    assert not has_valid_signature(KEY.public, DIGEST, bytes(damaged))


def test_a_signature_of_another_key_or_digest_is_refused() -> None:
    signature = KEY.sign(DIGEST)
    with pytest.raises(BadSignature):
        verify_signature(PrivateKey(b"\x08" * 32).public, DIGEST, signature)
    with pytest.raises(BadSignature):
        verify_signature(KEY.public, hashlib.sha256(DIGEST).digest(), signature)


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(64), bytes(65), b"\xff" * 64])
def test_what_is_no_signature_is_refused(signature: bytes) -> None:
    assert not has_valid_signature(KEY.public, DIGEST, signature)


@pytest.mark.parametrize(
    "public", [b"", bytes(33), b"\x02" + b"\xff" * 32, KEY.public[1:], b"\x04" + bytes(64)]
)
def test_what_is_no_point_is_no_public_key(public: bytes) -> None:
    assert not is_public_key(public)
    assert not has_valid_signature(public, DIGEST, KEY.sign(DIGEST))


@pytest.mark.parametrize("secret", [b"", bytes(31), bytes(32), ORDER.to_bytes(32, "big")])
def test_what_is_no_secret_makes_no_key(secret: bytes) -> None:
    with pytest.raises(LocalError):
        PrivateKey(secret)


def test_a_key_does_not_print_its_secret() -> None:
    assert KEY.secret.hex() not in repr(KEY)
    assert str(KEY.secret) not in repr(KEY)
