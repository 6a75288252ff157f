"""Compare what two peers hold, as bitmaps, so that a lost message is sent again."""

from __future__ import annotations

from p2pfed.errors import MalformedMessage


def _number(bitmap: bytes, size: int) -> int:
    """Return the bitmap as an integer, bit i for index i; raises MalformedMessage."""
    if len(bitmap) != (size + 7) // 8:
        raise MalformedMessage(f"a bitmap of {len(bitmap)} bytes for {size} entries")
    number = int.from_bytes(bitmap, "little")
    if number >> size:
        raise MalformedMessage(f"a bitmap of {size} entries has a spare bit set")
    return number


def missing(mine: bytes, theirs: bytes, size: int, limit: int | None = None) -> tuple[int, ...]:
    """Return the indices that `mine` has and `theirs` lacks, ascending: what to send.

    With the arguments exchanged it tells what they hold and we lack.

    Args:
        mine: Bitmap of `size` entries (types.bitmap).
        theirs: Bitmap from a peer: any bytes.
        size: How many entries both cover.
        limit: At most so many indices; None for all.

    Raises:
        MalformedMessage: A length is not that of `size` entries, or a spare bit is set.
    """
    lacking = _number(mine, size) & ~_number(theirs, size)
    indices: list[int] = []
    while lacking and (limit is None or len(indices) < limit):
        lowest = lacking & -lacking
        indices.append(lowest.bit_length() - 1)
        lacking ^= lowest
    return tuple(indices)


def with_rest(theirs: bytes, mine: bytes, size: int) -> bytes:
    """Return `theirs` with every entry set that `mine` lacks: what is left to send is what both say.

    Raises:
        MalformedMessage: As `missing`.
    """
    rest = ~_number(mine, size) & ((1 << size) - 1)
    return (_number(theirs, size) | rest).to_bytes((size + 7) // 8, "little")


def held(bitmap: bytes, size: int) -> int:
    """Return how many entries are set; raises MalformedMessage as `missing` does."""
    return _number(bitmap, size).bit_count()
