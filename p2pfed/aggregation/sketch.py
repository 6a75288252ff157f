"""Sketches: 256 bytes by which a vector of any length is known again, whatever unit it was in."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2pfed.primitives.digest import tagged
from p2pfed.types.model import Group
from p2pfed.types.params import SKETCH_BYTES

BUCKETS = SKETCH_BYTES // 2
VALUE_MAX = 32767
UNIT = 1 << 16  # Of cosines and scores.
_BLOCK_BITS = 256
# Rows of so many columns are added while they are in the cache; int16 signs need no conversion.
_COLUMNS, _BLOCK_ELEMENTS = 1 << 13, 1 << 17

Signs = NDArray[np.int16]


def signs(chain_id: bytes, size: int) -> Signs:
    """Return the signs of the coordinates of a network's model, int16 of shape `(size,)`, each 1 or -1 (K5).

    Coordinate i has the bit i mod 256, lowest first, of SHA-256(H("signs", chain id) || i div 256, 8 bytes).
    """
    key = hashlib.sha256(tagged("signs", chain_id))
    blocks = []
    for block in range(-(-size // _BLOCK_BITS)):
        digest = key.copy()
        digest.update(struct.pack(">Q", block))
        blocks.append(digest.digest())
    bits = np.unpackbits(np.frombuffer(b"".join(blocks), np.uint8), bitorder="little")[:size]
    result: Signs = bits * np.int16(-2) + np.int16(1)
    return result


def sketch(
    vector: NDArray[np.integer[Any]], exponents: Sequence[int], groups: Sequence[Group], sign: Signs
) -> bytes:
    """Return the sketch of `vector`: sums of signed coordinates, brought to 16 bits by one scale (K5).

    Args:
        vector: int16 or int32, shape `(d,)`.
        exponents: The unit of each group: 2^-exponent.
        groups: Of the model.
        sign: Of the coordinates, from `signs`.

    Bounds:
        A group's bucket sums at most 2^22 / 128 values below 2^29: int64. Groups are added as Python
        integers.
    """
    common = max(exponents)
    totals = [0] * BUCKETS
    for group, exponent in zip(groups, exponents, strict=True):
        for bucket, value in enumerate(_bucket_sums(vector[group.slice], sign[group.slice], group.start)):
            totals[bucket] += value << (common - exponent)
    largest = max(map(abs, totals))
    scaled = [value * VALUE_MAX // largest if largest else 0 for value in totals]
    return struct.pack(f"<{BUCKETS}h", *scaled)


def _bucket_sums(values: NDArray[np.integer[Any]], sign: Signs, start: int) -> list[int]:
    """Return the sum of each bucket; the coordinate i of the model is in bucket i mod 128.

    Bounds:
        A block has 16 rows of columns: of int16 they sum to less than 2^19, of int32 below 2^29 in int64.
    """
    sums = np.zeros(BUCKETS, np.int64)
    carrier = np.int32 if values.dtype == np.int16 else np.int64
    for begin in range(0, values.size, _BLOCK_ELEMENTS):
        block = slice(begin, begin + _BLOCK_ELEMENTS)
        signed = values[block] * sign[block]
        whole = signed.size // _COLUMNS * _COLUMNS
        columns = np.add.reduce(signed[:whole].reshape(-1, _COLUMNS), axis=0, dtype=carrier)
        sums += columns.reshape(-1, BUCKETS).sum(axis=0, dtype=np.int64)
        if whole < signed.size:
            rest = np.zeros(_COLUMNS, signed.dtype)
            rest[: signed.size - whole] = signed[whole:]
            sums += rest.reshape(-1, BUCKETS).sum(axis=0, dtype=np.int64)
    result: list[int] = np.roll(sums, start % BUCKETS).tolist()
    return result


def cosines_with(sketches: Sequence[bytes], past: Sequence[bytes]) -> list[list[int]]:
    """Return about the cosine of each of `sketches` with each of `past`, in units of 2^-16, at most 1.

    Rounded down; 0 where one of the two is zero.

    Bounds:
        Products of 128 pairs of int16 sum to less than 2^37.
    """
    ours, theirs = _matrix(sketches), _matrix(past)
    products = (ours @ theirs.T).tolist()
    own_squares, their_squares = (np.square(of).sum(axis=1).tolist() for of in (ours, theirs))
    return [
        [cosine(inner, own * their) for inner, their in zip(row, their_squares, strict=True)]
        for row, own in zip(products, own_squares, strict=True)
    ]


def cosine(inner: int, squares: int) -> int:
    """Return `inner` over the square root of `squares` in units of 2^-16, rounded down, at most 1."""
    length = isqrt(squares)
    return min(UNIT, inner * UNIT // length) if length else 0


def _matrix(sketches: Sequence[bytes]) -> NDArray[np.int64]:
    return np.array([struct.unpack(f"<{BUCKETS}h", of) for of in sketches], np.int64).reshape(-1, BUCKETS)
