"""Dice that all peers throw alike: a ChaCha20 stream under a key from the seed of the height.

A proposer can bias the seed by choosing among its blocks, so dice here only stop an attacker that must commit
to its update before the seed is known.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from p2pfed.primitives.digest import tagged

NONCE = bytes(16)  # A counter and a nonce of zero: each key is used for one stream.
WORD_BYTES = 4


def stream(seed: bytes, rule: str, size: int) -> bytes:
    """Return the first `size` bytes of the ChaCha20 stream keyed by `H("dice", seed || rule)`."""
    key = tagged("dice", seed + rule.encode())
    return Cipher(ChaCha20(key, NONCE), mode=None).encryptor().update(bytes(size))


def permutation(seed: bytes, rule: str, count: int) -> list[int]:
    """Return 0 to `count - 1` sorted by a 32-bit little-endian word of the stream each; equal words by
    number.
    """
    data = stream(seed, rule, WORD_BYTES * count)
    words = [int.from_bytes(data[WORD_BYTES * place :][:WORD_BYTES], "little") for place in range(count)]
    return sorted(range(count), key=words.__getitem__)
