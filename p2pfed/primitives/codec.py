"""Turn messages into their one canonical encoding and back.

Canonical means: msgpack arrays, integers minimal-length, bytes as bin, nothing after the value. A decoder
that accepted a second spelling would give one message two ids: `decode` writes the value again and compares.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from p2pfed.errors import MalformedMessage

T = TypeVar("T")

_ENCODER = msgspec.msgpack.Encoder()
_DECODERS: dict[Any, msgspec.msgpack.Decoder[Any]] = {}


def encode(value: object) -> bytes:
    """Return the canonical bytes of `value`: a frozen message, or a plain tuple of its fields."""
    return _ENCODER.encode(value)


def decode(
    data: bytes,
    kind: type[T],
    bytes_max: int,
    is_spelling: Callable[[T, bytes], bool] = lambda message, data: _ENCODER.encode(message) == data,
) -> T:
    """Return the message of type `kind` that `data` spells.

    Args:
        data: Bytes from outside.
        kind: The message's type, or a union of tagged types.
        bytes_max: The longest encoding accepted; checked before anything is parsed.
        is_spelling: Answers whether `data` is the canonical spelling of the message it spells: by encoding it
            once more, unless somebody knows a shorter way.

    Raises:
        MalformedMessage: `data` is too long, no such message, or not canonical.
    """
    if len(data) > bytes_max:
        raise MalformedMessage(f"{len(data)} bytes where at most {bytes_max} are allowed")
    decoder = _DECODERS.get(kind)
    if decoder is None:
        decoder = _DECODERS.setdefault(kind, msgspec.msgpack.Decoder(kind))
    try:
        message: T = decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, ValueError) as error:
        raise MalformedMessage(f"not a message of this kind: {error}") from None
    if not is_spelling(message, data):
        raise MalformedMessage("not the canonical spelling")
    return message
