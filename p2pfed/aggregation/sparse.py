"""Payloads of few coordinates: those that the seed of the height drew for all, or each trainer's largest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from p2pfed.aggregation.dice import WORD_BYTES, stream
from p2pfed.types.model import Int16Vector, Manifest
from p2pfed.types.params import COORDINATE_MAX

MASK = "rand_k"  # The name of the dice.
BLOCK = 1 << 16  # An index has two bytes.


def drawn(manifest: Manifest, one_in: int, seed: bytes) -> NDArray[np.int64]:
    """Return the coordinates of the height, ascending: one of each `one_in` consecutive ones of a group.

    The last stretch of a group may be shorter. Each has the word of the dice (spec N11) modulo its length.
    """
    words = np.frombuffer(stream(seed, MASK, WORD_BYTES * drawn_count(manifest, one_in)), "<u4")
    places, first = [], 0
    for group in manifest.groups:
        starts = np.arange(0, group.size, one_in)
        lengths = np.minimum(one_in, group.size - starts)
        places.append(group.start + starts + words[first : first + starts.size] % lengths)
        first += starts.size
    return np.concatenate(places)


def drawn_count(manifest: Manifest, one_in: int) -> int:
    """Return how many coordinates a height draws."""
    return sum(-(-group.size // one_in) for group in manifest.groups)


def top_blocks(manifest: Manifest, one_in: int) -> list[tuple[int, int, int]]:
    """Return (first coordinate, length, entries) of each block: at most 2^16 elements of one group."""
    blocks = []
    for group in manifest.groups:
        for start in range(group.start, group.stop, BLOCK):
            length = min(BLOCK, group.stop - start)
            blocks.append((start, length, -(-length // one_in)))
    return blocks


def pack_top(update: Int16Vector, manifest: Manifest, one_in: int) -> bytes:
    """Return the largest entries of each block: their indices, ascending, then the values; two bytes each."""
    parts = []
    for start, length, entries in top_blocks(manifest, one_in):
        block = update[start : start + length]
        largest = np.argsort(-np.abs(block.astype(np.int32)), kind="stable")[:entries]
        indices = np.sort(largest)
        parts += [indices.astype("<u2").tobytes(), block[indices].astype("<i2").tobytes()]
    return b"".join(parts)


def unpack_top(data: bytes | memoryview, manifest: Manifest, one_in: int) -> Int16Vector:
    """Return the update that a payload of the right length and without a broken word spells."""
    words, update, at = np.frombuffer(data, "<u2"), np.zeros(manifest.size, np.int16), 0
    for start, _, entries in top_blocks(manifest, one_in):
        update[start + words[at : at + entries].astype(np.int64)] = words[
            at + entries : at + 2 * entries
        ].view("<i2")
        at += 2 * entries
    return update


def broken_words(
    words: NDArray[np.uint16], offset: int, manifest: Manifest, one_in: int
) -> NDArray[np.bool_]:
    """Answer for each word of a payload from word `offset` whether no payload has it there.

    An index is broken that is not above the one before it, where that is among `words` too.
    """
    broken = np.zeros(words.size, np.bool_)
    first = -offset
    for _, length, entries in top_blocks(manifest, one_in):
        low, middle, high = (min(max(first + add, 0), words.size) for add in (0, entries, 2 * entries))
        indices = words[low:middle].astype(np.int64)
        broken[low:middle] = indices >= length
        broken[low + 1 : middle] |= indices[1:] <= indices[:-1]
        broken[middle:high] = words[middle:high].view("<i2") < -COORDINATE_MAX
        first += 2 * entries
    return broken
