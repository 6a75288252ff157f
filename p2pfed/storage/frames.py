"""The frames of the write-ahead log as bytes: `u32 crc32 | u32 length | msgpack[seq, kind, body]`.

Both numbers are big-endian; the checksum is zlib's CRC-32 over the length and what follows it.
docs/spec/storage.md section 6 says why not CRC-32C, and how a torn tail is told from damage.
"""

from __future__ import annotations

import struct
import zlib

import msgspec
from msgspec import Struct

from p2pfed.primitives import codec

HEAD = struct.Struct(">II")
PAYLOAD_BYTES_MAX = 1 << 20  # No entry comes near it; a larger length is damage.
SYNCED = "synced"  # Its body: the number before which everything was durable when it was written.
_ARRAY_OF_3 = b"\x93"

_DECODER = msgspec.msgpack.Decoder(tuple[int, str, msgspec.Raw])


class Frame(Struct, frozen=True):
    """One entry: its number in the whole log, its kind, and its body in canonical msgpack."""

    seq: int
    kind: str
    body: bytes
    start: int  # Where it stands in its file …
    end: int  # … and where the next one begins.


def encode_frame(seq: int, kind: str, body: bytes) -> bytes:
    """Return the bytes of a frame."""
    payload = codec.encode((seq, kind, msgspec.Raw(body)))
    assert len(payload) <= PAYLOAD_BYTES_MAX
    length = len(payload).to_bytes(4, "big")
    return HEAD.pack(zlib.crc32(payload, zlib.crc32(length)), len(payload)) + payload


def frame_at(data: bytes, start: int) -> Frame | None:
    """Return the frame that starts there; None where no whole and sound one does."""
    if start + HEAD.size > len(data):
        return None
    checksum, length = HEAD.unpack_from(data, start)
    end = start + HEAD.size + length
    if not 0 < length <= PAYLOAD_BYTES_MAX or end > len(data):
        return None
    if zlib.crc32(memoryview(data)[start + 4 : end]) != checksum:
        return None
    try:
        seq, kind, body = _DECODER.decode(data[start + HEAD.size : end])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return Frame(seq, kind, bytes(body), start, end)


def read_frames(data: bytes) -> tuple[list[Frame], int]:
    """Return the frames from the beginning on, each numbered one above the last, and where they end."""
    frames: list[Frame] = []
    start = 0
    while (frame := frame_at(data, start)) is not None:
        if frames and frame.seq != frames[-1].seq + 1:
            break
        frames.append(frame)
        start = frame.end
    return frames, start


def frames_behind(data: bytes, start: int, after_seq: int) -> list[Frame]:
    """Return the sound frames with a number above `after_seq` that lie somewhere behind `start`."""
    found: list[Frame] = []
    at = data.find(_ARRAY_OF_3, start + HEAD.size)
    while at >= 0:
        frame = frame_at(data, at - HEAD.size)
        if frame is not None and frame.seq > after_seq:
            found.append(frame)
            at = frame.end - 1
        at = data.find(_ARRAY_OF_3, at + 1)
    return found
