"""Frames: how control messages, requests and answers share one TLS connection.

A frame is a header of 9 bytes (kind, id, length; big-endian) and `length` bytes. An answer is cut into
pieces, so that a control message overtakes it.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple, Protocol, cast

from p2pfed.errors import MalformedMessage, OutOfBounds
from p2pfed.net.limits import BULK_PIECE_BYTES_MAX, REASON_CHARACTERS_MAX
from p2pfed.net.transport import TransportError
from p2pfed.types.params import CONTROL_BYTES_MAX
from p2pfed.types.wire import REQUEST_BYTES_MAX

_HEADER = struct.Struct(">BII")
HEADER_BYTES = _HEADER.size
REQUEST_ID_MAX = (1 << 32) - 1


class Kind(IntEnum):
    """What a frame carries. `id` names a request in REQUEST and its answers, and is 0 elsewhere."""

    HELLO = 1
    PROOF = 2
    CONTROL = 3
    REQUEST = 4
    PIECE = 5  # A part of an answer that is not its last; never empty.
    LAST_PIECE = 6
    FAILED = 7  # The answer is a sentence why there is none.
    ALIVE = 8  # The heartbeat. Both ends send it unasked, so it needs no answer.
    GOODBYE = 9  # Why the sender closes.


LENGTH_MAX = {
    Kind.HELLO: 512,
    Kind.PROOF: 64,
    Kind.CONTROL: CONTROL_BYTES_MAX,
    Kind.REQUEST: REQUEST_BYTES_MAX,
    Kind.PIECE: BULK_PIECE_BYTES_MAX,
    Kind.LAST_PIECE: BULK_PIECE_BYTES_MAX,
    Kind.FAILED: REASON_CHARACTERS_MAX,
    Kind.ALIVE: 0,
    Kind.GOODBYE: REASON_CHARACTERS_MAX,
}
_KINDS = {int(kind): kind for kind in Kind}
_PIECES = (Kind.PIECE, Kind.LAST_PIECE)
WITH_ID = (Kind.REQUEST, Kind.PIECE, Kind.LAST_PIECE, Kind.FAILED)


class Frame(NamedTuple):
    """One frame as it came in; its length is within the limit of its kind."""

    kind: Kind
    id: int
    data: bytes


class Reader(Protocol):
    """What frames are read from: asyncio's stream reader, or ours."""

    async def readexactly(self, count: int, /) -> bytes | bytearray: ...


def frame(kind: Kind, data: bytes | memoryview = b"", request_id: int = 0) -> bytes:
    """Return the bytes of a frame; the sender has checked the length."""
    assert len(data) <= LENGTH_MAX[kind]
    return b"".join((_HEADER.pack(kind, request_id, len(data)), data))


def sentence_frame(kind: Kind, text: str, request_id: int = 0) -> bytes:
    """Return a frame that carries `text`, cut to its limit, printable ASCII only."""
    return frame(kind, _printable(text).encode("ascii"), request_id)


def sentence_of(data: bytes) -> str:
    """Return a stranger's sentence made safe for a log: one line of printable ASCII."""
    return _printable(data.decode("ascii", "replace"))


def _printable(text: str) -> str:
    safe = "".join(character if " " <= character <= "~" else "?" for character in text)
    return safe[:REASON_CHARACTERS_MAX]


async def read_frame(reader: Reader) -> Frame:
    """Return the next frame.

    Raises:
        MalformedMessage: No such kind, or an id where none belongs.
        OutOfBounds: Longer than its kind allows; nothing of it is read.
        asyncio.IncompleteReadError: The connection ended.
    """
    number, request_id, length = _HEADER.unpack(await reader.readexactly(HEADER_BYTES))
    kind = _KINDS.get(number)
    if kind is None:
        raise MalformedMessage(f"a frame of unknown kind {number}")
    if length > LENGTH_MAX[kind]:
        raise OutOfBounds(f"a {kind.name} frame of {length} bytes; at most {LENGTH_MAX[kind]}")
    if request_id and kind not in WITH_ID:
        raise MalformedMessage(f"a {kind.name} frame with the id {request_id}")
    data = await reader.readexactly(length) if length else b""
    # A piece stays what it was read into: it is joined with others, and that is its only copy.
    return Frame(kind, request_id, cast("bytes", data) if kind in _PIECES else bytes(data))


async def expect(reader: Reader, kind: Kind, where: str) -> bytes:
    """Return the data of the next frame, which is of `kind`.

    Raises:
        TransportError: A goodbye came instead; names `where` it came from.
        MalformedMessage: Something else came. As `read_frame`, besides.
    """
    received = await read_frame(reader)
    if received.kind is Kind.GOODBYE:
        raise TransportError(f"{where} refused: {sentence_of(received.data)}")
    if received.kind is not kind:
        raise MalformedMessage(f"a {received.kind.name} frame where {kind.name} belongs")
    return received.data
