"""Turn messages into their one canonical encoding and back.

Canonical means: msgpack arrays, integers minimal-length, bytes as bin, nothing after the value. A decoder
that accepted a second spelling would give one message two ids: `decode` writes the value again and compares.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from p2pfed.errors import MalformedMessage

T = TypeVar("T")

_ENCODER = msgspec.msgpack.Encoder()
_DECODERS: dict[Any, msgspec.msgpack.Decoder[Any]] = {}
_ALONE = threading.Lock()


def encode(value: object) -> bytes:
    """Return the canonical bytes of `value`: a frozen message, or a plain tuple of its fields."""
    return _ENCODER.encode(value)


def prepared(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    """Return the decoder of `kind`, made by one thread alone.

    msgspec (0.22) reads the fields of a type at its first use, and what another thread finds half read
    crashes the process. Who decodes by other means in several threads calls this first.
    """
    decoder = _DECODERS.get(kind)
    if decoder is None:
        with _ALONE:
            decoder = _DECODERS[kind] = _DECODERS.get(kind) or msgspec.msgpack.Decoder(kind)
    return decoder


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
    try:
        message: T = prepared(kind).decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, ValueError) as error:
        raise MalformedMessage(f"not a message of this kind: {error}") from None
    if not is_spelling(message, data):
        raise MalformedMessage("not the canonical spelling")
    return message
