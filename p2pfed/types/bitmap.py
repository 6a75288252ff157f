"""Bitmaps over indices: bit i is byte i//8, mask 1 << (i % 8); spare bits are zero."""

from __future__ import annotations

from collections.abc import Iterable

from p2pfed.errors import MalformedMessage


def bitmap_of(indices: Iterable[int], size: int) -> bytes:
    """Return the bitmap of `size` bits with `indices` set."""
    bits = bytearray((size + 7) // 8)
    for index in indices:
        assert 0 <= index < size
        bits[index >> 3] |= 1 << (index & 7)
    return bytes(bits)


def verify_bitmap(bitmap: bytes, size: int) -> None:
    """Raise MalformedMessage where the length is not that of `size` bits, or a spare bit is set."""
    if len(bitmap) != (size + 7) // 8:
        raise MalformedMessage(f"bitmap of {len(bitmap)} bytes for {size} entries")
    if size & 7 and bitmap and bitmap[-1] >> (size & 7):
        raise MalformedMessage("a spare bit of a bitmap is set")


def indices_of(bitmap: bytes, size: int) -> tuple[int, ...]:
    """Return the set indices, ascending.

    Raises:
        MalformedMessage: The length is not that of `size` bits, or a spare bit is set.
    """
    verify_bitmap(bitmap, size)
    return tuple([index for index in range(size) if bitmap[index >> 3] >> (index & 7) & 1])
