"""Hashes with a domain of their own, so that bytes of one kind never pass as another."""

from __future__ import annotations

import hashlib
from functools import lru_cache

DIGEST_BYTES = 32
ZERO_DIGEST = bytes(DIGEST_BYTES)


def sha256(data: bytes | memoryview) -> bytes:
    """Return the plain SHA-256 of `data` (32 bytes)."""
    return hashlib.sha256(data).digest()


def tagged(tag: str, data: bytes) -> bytes:
    """Return `H(tag, data) = SHA-256("p2pfed/1/" tag 0x00 data)` (spec/consensus.md section 3)."""
    return hashlib.sha256(_prefix(tag) + data).digest()


def signing_digest(kind: str, chain_id: bytes, body: bytes) -> bytes:
    """Return the 32 bytes that a signature of `kind` covers; `chain_id` keeps it out of other networks."""
    return hashlib.sha256(_signing_prefix(kind, chain_id) + body).digest()


@lru_cache(maxsize=256)
def _prefix(tag: str) -> bytes:
    return b"p2pfed/1/" + tag.encode("ascii") + b"\x00"


@lru_cache(maxsize=256)
def _signing_prefix(kind: str, chain_id: bytes) -> bytes:
    assert len(chain_id) == DIGEST_BYTES
    return _prefix("sig/" + kind) + chain_id
