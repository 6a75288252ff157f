"""What one peer has and another lacks is found exactly, and a malformed bitmap is its sender's fault."""

from __future__ import annotations

from itertools import product

import pytest

from p2pfed.errors import MalformedMessage
from p2pfed.gossip.digests import held, missing, with_rest
from p2pfed.types.bitmap import bitmap_of


def test_every_pair_of_small_holdings_is_compared_right() -> None:
    for size in range(6):
        for mine, theirs in product(range(1 << size), repeat=2):
            have = {i for i in range(size) if mine >> i & 1}
            they = {i for i in range(size) if theirs >> i & 1}
            found = missing(bitmap_of(have, size), bitmap_of(they, size), size)
            assert found == tuple(sorted(have - they))


def test_large_holdings_are_compared_across_bytes() -> None:
    mine, theirs = bitmap_of(range(0, 400, 3), 400), bitmap_of(range(0, 400, 2), 400)
    assert missing(mine, theirs, 400) == tuple(i for i in range(0, 400, 3) if i % 2)
    assert missing(theirs, mine, 400) == tuple(i for i in range(0, 400, 2) if i % 3)
    assert held(mine, 400) == 134


def test_what_neither_can_send_counts_as_held() -> None:
    for size in range(6):
        for mine, theirs in product(range(1 << size), repeat=2):
            have, they = (
                bitmap_of([i for i in range(size) if bits >> i & 1], size) for bits in (mine, theirs)
            )
            found = with_rest(they, have, size)
            everything = bitmap_of(range(size), size)
            assert missing(everything, found, size) == missing(have, they, size)


def test_a_limit_gives_the_lowest_indices() -> None:
    everything, nothing = bitmap_of(range(20), 20), bitmap_of((), 20)
    assert missing(everything, nothing, 20, limit=3) == (0, 1, 2)
    assert missing(everything, nothing, 20, limit=0) == ()


@pytest.mark.parametrize("theirs", [b"", b"\x00", b"\x00\x00\x00", b"\x00\x04", b"\xff\xff"])
def test_a_malformed_bitmap_is_a_fault_of_its_sender(theirs: bytes) -> None:
    with pytest.raises(MalformedMessage, match="10 entries"):
        missing(bitmap_of((1,), 10), theirs, 10)
    with pytest.raises(MalformedMessage, match="10 entries"):
        held(theirs, 10)
    for first, second in ((theirs, bitmap_of((1,), 10)), (bitmap_of((1,), 10), theirs)):
        with pytest.raises(MalformedMessage, match="10 entries"):
            with_rest(first, second, 10)


def test_a_bitmap_over_nothing_is_empty() -> None:
    assert missing(b"", b"", 0) == ()
    with pytest.raises(MalformedMessage):
        missing(b"", b"\x00", 0)
