"""A payload has exactly the bytes of the model's coordinates, and none is -32768."""

from __future__ import annotations

import numpy as np
import pytest

from p2pfed.aggregation.payload import PayloadForm, decode_payload, encode_payload
from p2pfed.errors import OutOfBounds
from p2pfed.types.model import ArraySpec, Manifest

MANIFEST = Manifest(
    (
        ArraySpec("weight", (2,), "float32", "trained", False),
        ArraySpec("steps", (), "int64", "local", False),
        ArraySpec("bias", (1,), "float32", "trained", False),
    )
)


def test_bytes_are_little_endian_and_come_back() -> None:
    update = np.array([1, -2, 32767], np.int16)
    assert encode_payload(update) == bytes([1, 0, 0xFE, 0xFF, 0xFF, 0x7F])
    assert decode_payload(encode_payload(update), MANIFEST).tolist() == [1, -2, 32767]
    assert encode_payload(update.astype(">i2")) == encode_payload(update)


@pytest.mark.parametrize("length", [0, 1, 4, 5, 7, 8, 6000])
def test_another_length_is_refused(length: int) -> None:
    with pytest.raises(OutOfBounds, match=f"{length} bytes"):
        decode_payload(bytes(length), MANIFEST)


@pytest.mark.parametrize("position", range(3))
def test_the_value_without_an_opposite_is_refused_anywhere(position: int) -> None:
    update = np.full(3, -32767, np.int16)
    assert decode_payload(encode_payload(update), MANIFEST).tolist() == [-32767] * 3
    update[position] = -32768
    with pytest.raises(OutOfBounds, match=f"element {position}"):
        decode_payload(encode_payload(update), MANIFEST)


def test_no_bytes_are_no_broken_ones() -> None:
    assert PayloadForm(MANIFEST).broken_at(b"") is None


def test_a_decoded_update_is_read_only() -> None:
    assert not decode_payload(bytearray(6), MANIFEST).flags.writeable
