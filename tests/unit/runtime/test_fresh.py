"""What is held in memory for a moment: bounded, and served in the very chunks that the disk serves."""

from __future__ import annotations

import pytest

from p2pfed.primitives.merkle import CHUNK_BYTES, chunk_root, has_chunk
from p2pfed.runtime.fresh import FRESH_BYTES_MAX, FRESH_ITEMS_MAX, ITEM_BYTES_MAX, Fresh


def test_the_oldest_go_where_there_is_no_room() -> None:
    fresh, size = Fresh(), FRESH_BYTES_MAX // 4
    roots = [bytes([number]) * 32 for number in range(5)]
    for number, root in enumerate(roots):
        fresh.keep(root, bytes([number]) * size)
        fresh.keep(root, bytes([number]) * size)  # Again is no use of room.
    assert [fresh.get(root) is not None for root in roots] == [False, True, True, True, True]


def test_many_small_ones_do_not_fill_the_room() -> None:
    fresh = Fresh()
    roots = [number.to_bytes(32, "big") for number in range(FRESH_ITEMS_MAX + 2)]
    for root in roots:
        fresh.keep(root, b"small")
    assert [place for place, root in enumerate(roots) if fresh.get(root) is None] == [0, 1]


def test_what_is_too_large_pushes_nothing_out() -> None:
    fresh = Fresh()
    fresh.keep(b"\1" * 32, b"small")
    fresh.keep(b"\2" * 32, bytes(ITEM_BYTES_MAX + 1))
    assert (fresh.get(b"\1" * 32), fresh.get(b"\2" * 32)) == (b"small", None)


def test_what_two_heights_did_not_ask_for_goes() -> None:
    fresh = Fresh()
    fresh.keep(b"\1" * 32, b"old")
    fresh.height_ended()
    fresh.keep(b"\2" * 32, b"new")
    assert (fresh.get(b"\1" * 32), fresh.get(b"\2" * 32)) == (b"old", b"new")
    fresh.height_ended()
    assert (fresh.get(b"\1" * 32), fresh.get(b"\2" * 32)) == (None, b"new")


@pytest.mark.parametrize("size", [1, CHUNK_BYTES, CHUNK_BYTES + 1])
def test_chunks_prove_themselves_under_the_root(size: int) -> None:
    fresh, data = Fresh(), b"x" * size
    root = chunk_root(data)
    fresh.keep(root, data)
    chunks = [fresh.chunk(root, index) for index in range(-(-size // CHUNK_BYTES))]
    assert b"".join(chunk.data for chunk in chunks if chunk is not None) == data
    for index, chunk in enumerate(chunks):
        assert chunk is not None
        assert has_chunk(root, chunk.data, index, chunk.count, chunk.path)
    assert fresh.chunk(root, len(chunks)) is None
    assert fresh.chunk(bytes(32), 0) is None


@pytest.mark.parametrize(
    ("size", "count", "is_held"),
    [
        (ITEM_BYTES_MAX, FRESH_BYTES_MAX // ITEM_BYTES_MAX, True),
        (ITEM_BYTES_MAX, FRESH_BYTES_MAX // ITEM_BYTES_MAX + 1, False),
        (ITEM_BYTES_MAX + 1, 1, False),
        (1, FRESH_ITEMS_MAX, True),
        (1, FRESH_ITEMS_MAX + 1, False),
    ],
)
def test_a_height_is_held_where_all_of_it_finds_room(size: int, count: int, is_held: bool) -> None:
    fresh = Fresh()
    assert fresh.holds(size, count) is is_held
    data = bytes(size)
    for number in range(count):
        fresh.keep(number.to_bytes(32, "big"), data)
    held = [fresh.get(number.to_bytes(32, "big")) is not None for number in range(count)]
    assert all(held) is is_held
