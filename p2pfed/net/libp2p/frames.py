"""What two peers say on their control stream, and how a request and its answer are framed."""

from __future__ import annotations

from typing import Annotated

import msgspec

from p2pfed.errors import MalformedMessage
from p2pfed.net.libp2p.stream import Stream, StreamGone
from p2pfed.net.limits import PROTOCOL_VERSION, REASON_CHARACTERS_MAX
from p2pfed.primitives import codec
from p2pfed.types.message import Digest32
from p2pfed.types.params import CONTROL_BYTES_MAX
from p2pfed.types.wire import REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX

CONTROL = "/p2pfed/1"
BULK = "/p2pfed/bulk/1"
TOKEN_BYTES = 32

HELLO, CONFIRM, MESSAGE, ALIVE, GOODBYE, OFFER = range(6)
TAKES_OFFER = b"\x01"  # In a confirmation: it knows what an offer of a side channel is.
OFFER_BYTES = TOKEN_BYTES + 32  # The token, then the SHA-256 of the certificate in DER.
CROSSED = "both ends dialled at once and the other pipe stays"
HELLO_BYTES_MAX = 64
_LENGTH_BYTES = 4
_ANSWER, _FAILED = range(2)


class Hello(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The first frame of either end. Keys are authenticated below; this says which network and protocol."""

    version: Annotated[int, msgspec.Meta(ge=0, le=1 << 16)]
    chain_id: Digest32


def frame(kind: int, payload: bytes = b"") -> bytes:
    """Return the bytes of one frame: length of the payload (4 bytes, big-endian), kind (1 byte), payload."""
    return len(payload).to_bytes(_LENGTH_BYTES, "big") + bytes((kind,)) + payload


def hello_frame(chain_id: bytes) -> bytes:
    return frame(HELLO, codec.encode(Hello(PROTOCOL_VERSION, chain_id)))


def goodbye_frame(reason: str) -> bytes:
    return frame(GOODBYE, sentence(reason))


def sentence(text: str) -> bytes:
    """Return `text` as it is sent: printable ASCII of at most REASON_CHARACTERS_MAX."""
    return "".join(character if " " <= character <= "~" else "?" for character in text).encode()[
        :REASON_CHARACTERS_MAX
    ]


def sentence_of(data: bytes) -> str:
    """Return a stranger's sentence made safe for a log."""
    return sentence(data.decode("ascii", "replace")).decode()


async def read_frame(stream: Stream) -> tuple[int, bytes]:
    """Return kind and payload of the next frame.

    Raises:
        StreamGone: The stream ended, or the frame is longer than CONTROL_BYTES_MAX.
    """
    header = await stream.read_exactly(_LENGTH_BYTES + 1)
    length = int.from_bytes(header[:_LENGTH_BYTES], "big")
    if length > CONTROL_BYTES_MAX:
        raise StreamGone(f"it sent a control frame of {length} bytes; at most {CONTROL_BYTES_MAX}")
    return header[_LENGTH_BYTES], await stream.read_exactly(length)


def request(data: bytes) -> bytes:
    """Return a bulk request as it is sent: length, then data."""
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data


async def read_request(stream: Stream) -> bytes:
    """Return the bulk request on `stream`; raises StreamGone where it is longer than REQUEST_BYTES_MAX."""
    length = int.from_bytes(await stream.read_exactly(_LENGTH_BYTES), "big")
    if length > REQUEST_BYTES_MAX:
        raise StreamGone(f"it sent a request of {length} bytes; at most {REQUEST_BYTES_MAX}")
    return await stream.read_exactly(length)


def answer(data: bytes, *, is_answer: bool) -> bytes:
    """Return an answer, or the sentence why there is none, as it is sent."""
    return frame(_ANSWER if is_answer else _FAILED, data)


async def read_answer(stream: Stream) -> bytes:
    """Return the answer on `stream`.

    Raises:
        StreamGone: The stream ended, the answer is too long, or the peer said why there is none.
    """
    header = await stream.read_exactly(_LENGTH_BYTES + 1)
    length, kind = int.from_bytes(header[:_LENGTH_BYTES], "big"), header[_LENGTH_BYTES]
    bytes_max = RESPONSE_BYTES_MAX if kind == _ANSWER else REASON_CHARACTERS_MAX
    if kind not in (_ANSWER, _FAILED) or length > bytes_max:
        raise StreamGone(f"it sent an answer of {length} bytes; at most {bytes_max}")
    data = await stream.read_exactly(length)
    if kind == _FAILED:
        raise StreamGone(f"the peer refused: {sentence_of(data)}")
    return data


def refusal(payload: bytes, chain_id: bytes) -> str:
    """Return why a hello is refused, or "" where it is not; names both values that disagree."""
    try:
        hello = codec.decode(payload, Hello, HELLO_BYTES_MAX)
    except MalformedMessage:
        return "its hello is malformed"
    if hello.version != PROTOCOL_VERSION:
        return f"it speaks protocol version {hello.version} and we speak {PROTOCOL_VERSION}"
    if hello.chain_id != chain_id:
        return f"it belongs to the chain {hello.chain_id.hex()[:16]}… and we belong to {chain_id.hex()[:16]}…"
    return ""
