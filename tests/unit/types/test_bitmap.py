"""A bitmap has the bits of its indices, its exact length, and nothing in the spare bits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pfed.errors import MalformedMessage
from p2pfed.types.bitmap import bitmap_of, indices_of


@given(
    st.integers(0, 70).flatmap(
        lambda size: st.tuples(st.just(size), st.sets(st.integers(0, max(size - 1, 0))))
    )
)
def test_indices_come_back_ascending(case: tuple[int, set[int]]) -> None:
    size, indices = case
    kept = sorted(index for index in indices if index < size)
    assert indices_of(bitmap_of(kept, size), size) == tuple(kept)


def test_bit_i_is_in_byte_i_div_8() -> None:
    assert bitmap_of([0, 9], 10) == bytes([1, 2])


@pytest.mark.parametrize(
    ("bitmap", "size"),
    [(b"", 1), (b"\x00\x00", 8), (b"\x02", 1), (b"\xff\x04", 10), (b"\x80", 7), (b"\x00", 0)],
)
def test_a_wrong_length_or_a_spare_bit_is_malformed(bitmap: bytes, size: int) -> None:
    with pytest.raises(MalformedMessage):
        indices_of(bitmap, size)
