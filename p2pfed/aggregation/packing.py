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
_PIECE = 64 * BLOCK  # Elements that are packed at a time: they stay in the cache.
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
        for first in range(0, group.size, _PIECE):
            here = slice(group.start + first, group.start + min(first + _PIECE, group.size))
            scale, values[here] = _pack_piece(packing, update[here])
            scales.append(scale.tobytes())
    return b"".join(scales) + _squeezed(packing, values)


def _pack_piece(packing: Packing, update: Int16Vector) -> tuple[NDArray[np.generic], NDArray[np.int8]]:
    """Return the scales of some blocks, as they are sent, and their small values; the last may be shorter."""
    blocks = np.zeros((-(-update.size // BLOCK), BLOCK), np.int32)
    blocks.reshape(-1)[: update.size] = update
    if packing.bits == 1:
        sizes = np.minimum(BLOCK, update.size - BLOCK * np.arange(len(blocks)))
        scale = (np.abs(blocks).sum(1) // sizes).astype("<u2")
        small = (blocks < 0).astype(np.int8)
        return scale, small.reshape(-1)[: update.size]
    shifts = np.arange(packing.shift_max)
    limits = ((packing.most + 1) << shifts) - ((1 << shifts) >> 1)  # From here on it rounds too high.
    scale = (np.abs(blocks).max(1)[:, np.newaxis] >= limits).sum(1)
    shift = scale[:, np.newaxis].astype(np.int32)
    blocks += (1 << shift) >> 1
    blocks >>= shift
    small = np.clip(blocks, -packing.most, packing.most, out=blocks).astype(np.int8)
    return scale.astype(np.uint8), small.reshape(-1)[: update.size]


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
    scales, values = np.split(piece, [max(0, min(piece.size, start - offset))])
    bad = np.empty(piece.size, np.bool_)
    bad_scales, bad_values = bad[: scales.size], bad[scales.size :]
    if packing.bits == 1:
        bad_scales[::2], bad_scales[1::2] = False, scales[1::2] > 127
        bad_values[:] = False
    else:
        np.greater(scales, packing.shift_max, out=bad_scales)
        if packing.bits == 8:
            np.equal(values, packing.most + 1, out=bad_values)
        else:
            np.equal(values >> 4, packing.most + 1, out=bad_values)
            bad_values |= values & 15 == packing.most + 1
    spare = -manifest.size * packing.bits % 8  # Bits of the last byte that stand for nothing.
    if spare and values.size and offset + piece.size == packed_bytes(packing, manifest):
        bad_values[-1] |= values[-1] >> (8 - spare) != 0
    return bad


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
