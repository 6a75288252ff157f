"""What a peer and its worker say to each other over two pipes: the length as `<I`, then a msgpack message.

The vectors that go with them lie in memory that both share (`shared.SharedVectors`).
"""

from __future__ import annotations

import struct
from typing import Annotated

import msgspec

from p2pfed.primitives import codec
from p2pfed.types.message import Digest32, Height, Message
from p2pfed.types.model import Manifest
from p2pfed.types.params import GENESIS_BYTES_MAX
from p2pfed.types.update import EXAMPLES_MAX

HEAD = struct.Struct("<I")
MESSAGE_BYTES_MAX = GENESIS_BYTES_MAX  # The longest message carries the manifest, as genesis does.
REASON_CHARACTERS_MAX = 300  # A refusal is one line of a log.


class Hello(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=1):
    """Load the app and say what it is; the first request, asked once."""

    app: Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
    index: int
    peers: int
    partition: Annotated[str, msgspec.Meta(max_length=64)]
    seed: int
    data_dir: Annotated[str, msgspec.Meta(max_length=4096)]
    params: Annotated[dict[str, str], msgspec.Meta(max_length=64)]
    memory_mb: int


class TrainRequest(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=2):
    """Train from the vector that was handed over."""

    height: Height
    train_index: Height


class EvaluateRequest(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=3):
    """Evaluate the vector that was handed over."""

    height: Height
    train_index: Height


Request = Hello | TrainRequest | EvaluateRequest


class Ready(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=10):
    """Answer to Hello; the initial weights are handed over."""

    manifest: Manifest
    evaluation_root: Digest32


class TrainReply(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=11):
    """Answer to TrainRequest; the difference to the vector that was handed over is so too."""

    examples: Annotated[int, msgspec.Meta(ge=1, le=EXAMPLES_MAX)]
    metrics: dict[str, float | int]


class EvaluateReply(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=12):
    """Answer to EvaluateRequest."""

    metrics: dict[str, float | int]


class Failure(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=13):
    """The request failed for `reason`, one line; the worker goes on, unless it `is_spent` and ends now."""

    reason: Annotated[str, msgspec.Meta(max_length=REASON_CHARACTERS_MAX)]
    is_spent: bool = False


Reply = Ready | TrainReply | EvaluateReply | Failure


def decode_request(data: bytes) -> Request:
    """Return the request in `data`; raises MalformedMessage."""
    return codec.decode(data, Request, MESSAGE_BYTES_MAX)  # type: ignore[arg-type]


def decode_reply(data: bytes) -> Reply:
    """Return the reply in `data`; raises MalformedMessage."""
    return codec.decode(data, Reply, MESSAGE_BYTES_MAX)  # type: ignore[arg-type]


def one_line(text: str) -> str:
    """Return `text` on one line of printable characters: a learner's words end up in a terminal."""
    plain = "".join(
        character if character.isprintable() else " " for character in text[: 4 * REASON_CHARACTERS_MAX]
    )
    short = " ".join(plain.split())
    return short if len(short) <= REASON_CHARACTERS_MAX else short[: REASON_CHARACTERS_MAX - 1] + "…"
