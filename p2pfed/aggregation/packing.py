"""Payloads of few bits: small integers with one power of two, or signs with one magnitude, per 1,024 values.

A payload is the scales of all blocks, one after the other, then the values of the whole model, packed. A
block is at most 1,024 consecutive elements of one group.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from p2pfed.types.model import Int16Vector, Manifest

BLOCK = 1024
Bytes = NDArray[np.uint8]


class Packing(Struct, frozen=True):
    """Values of `bits` bits. With 8 or 4: `value << k`, |value| <= most, and a byte k <= shift_max a block.

    With 1: a bit for minus, and a magnitude of two bytes, little-endian, below 2^15, a block.
    """

    bits: int
    shift_max: int = 0
    most: int = 0

    @property
    def scale_bytes(self) -> int:
        return 2 if self.bits == 1 else 1


INT8 = Packing(8, 8, 127)  # 127 << 8 is within an update's range.
INT4 = Packing(4, 12, 7)
SIGN = Packing(1)


def block_count(manifest: Manifest) -> int:
    """Return how many blocks the groups of a model have."""
    return sum(-(-group.size // BLOCK) for group in manifest.groups)


def packed_bytes(packing: Packing, manifest: Manifest) -> int:
    """Return the length of a payload."""
    return packing.scale_bytes * block_count(manifest) + -(-manifest.size * packing.bits // 8)


def pack(packing: Packing, update: Int16Vector, manifest: Manifest) -> bytes:
    """Return the payload nearest to `update`, int16 of shape `(d,)`.

    The shift is the least with which the block's largest value fits; a sign's magnitude is the block's mean.
    """
    scales, values = [], np.empty(manifest.size, np.int8)
    for group in manifest.groups:
        blocks = np.zeros((-(-group.size // BLOCK), BLOCK), np.int32)
        blocks.reshape(-1)[: group.size] = update[group.slice]
        sizes = np.minimum(BLOCK, group.size - BLOCK * np.arange(len(blocks)))
        if packing.bits == 1:
            scale = np.abs(blocks).sum(1) // sizes
            small = (blocks < 0).astype(np.int8)
        else:
            shifts = np.arange(packing.shift_max)
            limits = ((packing.most + 1) << shifts) - ((1 << shifts) >> 1)  # From here on it rounds too high.
            scale = (np.abs(blocks).max(1)[:, np.newaxis] >= limits).sum(1)
            shift = scale[:, np.newaxis]
            rounded = (blocks + ((1 << shift) >> 1)) >> shift
            small = np.clip(rounded, -packing.most, packing.most).astype(np.int8)
        scales.append(scale.astype("<u2" if packing.bits == 1 else np.uint8).tobytes())
        values[group.slice] = small.reshape(-1)[: group.size]
    return b"".join(scales) + _squeezed(packing, values)


def unpack(packing: Packing, data: bytes | memoryview, manifest: Manifest) -> Int16Vector:
    """Return the update that a payload of the right length and without a broken byte spells."""
    start = packing.scale_bytes * block_count(manifest)
    scales = np.frombuffer(data[:start], "<u2" if packing.bits == 1 else np.uint8).astype(np.int16)
    values = _spread(packing, np.frombuffer(data[start:], np.uint8), manifest.size)
    update = np.empty(manifest.size, np.int16)
    first = 0
    for group in manifest.groups:
        last = first + -(-group.size // BLOCK)
        here = np.repeat(scales[first:last], BLOCK)[: group.size]
        if packing.bits == 1:
            update[group.slice] = np.where(values[group.slice], -here, here)
        else:
            update[group.slice] = values[group.slice].astype(np.int16) << here
        first = last
    return update


def broken_bytes(packing: Packing, piece: Bytes, offset: int, manifest: Manifest) -> NDArray[np.bool_]:
    """Answer for each byte of a payload from `offset`, which is even, whether no payload has it there."""
    start = packing.scale_bytes * block_count(manifest)
    places = np.arange(offset, offset + piece.size)
    is_scale = places < start
    spare = -manifest.size * packing.bits % 8  # Bits of the last byte that stand for nothing.
    is_padded = (places == packed_bytes(packing, manifest) - 1) & (spare > 0) & (piece >> (8 - spare) != 0)
    if packing.bits == 1:
        bad_scale, bad_value = (places % 2 == 1) & (piece > 127), is_padded
    else:
        bad_scale, bad_value = (
            piece > packing.shift_max,
            is_padded | (piece >> (8 - packing.bits) == packing.most + 1),
        )
        if packing.bits == 4:
            bad_value |= piece & 15 == packing.most + 1
    result: NDArray[np.bool_] = np.where(is_scale, bad_scale, bad_value)
    return result


def _squeezed(packing: Packing, values: NDArray[np.int8]) -> bytes:
    """Return small values of the whole model as bytes, the first in the lowest bits."""
    if packing.bits == 8:
        return values.tobytes()
    if packing.bits == 1:
        return np.packbits(values, bitorder="little").tobytes()
    pairs = np.zeros(values.size + values.size % 2, np.uint8)
    pairs[: values.size] = values & 15
    return (pairs[::2] | pairs[1::2] << 4).tobytes()


def _spread(packing: Packing, data: Bytes, size: int) -> NDArray[np.int8]:
    if packing.bits == 8:
        return data.view(np.int8)
    if packing.bits == 1:
        return np.unpackbits(data, count=size, bitorder="little").view(np.int8)
    pairs = np.empty(2 * data.size, np.int8)
    pairs[::2], pairs[1::2] = data & 15, data >> 4
    return (pairs[:size] ^ 8) - 8
