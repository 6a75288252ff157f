"""Check SQLite's write-ahead log frame by frame: SQLite itself drops a damaged tail without a word."""

from __future__ import annotations

import struct
from pathlib import Path

HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
_MAGIC_LITTLE, _MAGIC_BIG = 0x377F0682, 0x377F0683
_MASK = 0xFFFFFFFF

Checksum = tuple[int, int]


def wal_problem(path: Path) -> str | None:
    """Return what is wrong with the log in `path`; None where it is sound, empty or not there.

    Frames of an older generation behind the last valid one are normal: their salts differ in both halves.
    A frame of this generation that does not verify is a committed change that would be lost.

    Source:
        SQLite file format, section 4 "The Write-Ahead Log".
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    if not data:
        return None
    if len(data) < HEADER_BYTES:
        return f"the header has {len(data)} bytes and not {HEADER_BYTES}"
    magic, _, page_bytes, _, salt1, salt2, *stored = struct.unpack(">8I", data[:HEADER_BYTES])
    if magic not in (_MAGIC_LITTLE, _MAGIC_BIG):
        return f"the header starts with {magic:#x}"
    order = "<" if magic == _MAGIC_LITTLE else ">"
    checksum = _checksum(data[: HEADER_BYTES - 8], (0, 0), order)
    if checksum != tuple(stored):
        return "the header's checksum does not hold"
    frame_bytes = FRAME_HEADER_BYTES + page_bytes
    is_live = True
    for number, start in enumerate(range(HEADER_BYTES, len(data) - frame_bytes + 1, frame_bytes), start=1):
        frame = data[start : start + frame_bytes]
        _, _, first, second, *stored = struct.unpack(">6I", frame[:FRAME_HEADER_BYTES])
        if is_live and (first, second) == (salt1, salt2):
            checksum = _checksum(frame[:8], checksum, order)
            checksum = _checksum(frame[FRAME_HEADER_BYTES:], checksum, order)
            if checksum != tuple(stored):
                return f"the checksum of frame {number} does not hold: changes from there on are lost"
        elif first == salt1 or second == salt2:
            return (
                f"frame {number} belongs to changes that are lost: a frame before it or its salt is damaged"
            )
        else:
            is_live = False
    return None


def _checksum(data: bytes, start: Checksum, order: str) -> Checksum:
    first, second = start
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & _MASK
        second = (second + odd + first) & _MASK
    return first, second
