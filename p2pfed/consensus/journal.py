"""The entries of the write-ahead log: every input that moved the engine of a height, in their order.

An entry is a kind, by name, and a body in canonical msgpack (docs/spec/storage.md section 6). Results are
inputs too: what a check found before a crash is read back and never found out again.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, assert_never

import msgspec
from msgspec import Struct

from p2pfed.consensus import io
from p2pfed.consensus.signer import RECORD_BYTES_MAX, SignRecord
from p2pfed.errors import MalformedMessage
from p2pfed.primitives import codec
from p2pfed.types.block import Header
from p2pfed.types.certificate import CommitCert, PolkaCert
from p2pfed.types.message import Digest32, Height, Index, Round
from p2pfed.types.params import CONTROL_BYTES_MAX, KIB
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import ProposalMessage

Spoken = ProposalMessage | Prevote | Precommit
Kind = Literal[
    "began", "said", "proposal", "vote", "polka", "commit", "verdict", "pending", "value", "collected",
    "timeout", "restarted", "ended",
]  # fmt: skip
BODY_BYTES_MAX = max(RECORD_BYTES_MAX, CONTROL_BYTES_MAX) + KIB  # A record, or a message, and a few numbers.


class Began(Struct, frozen=True):
    """An engine began to work on `height`: at its start, or from `record` (W6). What is before is void."""

    height: int
    own_index: int | None
    record: SignRecord | None


class Said(Struct, frozen=True):
    """The engine heard what this peer itself said, right after it was signed."""

    message: Spoken


class Ended(Struct, frozen=True):
    """The block of `height`, its certificate and the state after it are stored (W3)."""

    height: int


Entry = Began | Said | Ended | io.Input

_BytesCount = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]
_Rate = Annotated[int, msgspec.Meta(ge=1, le=1 << 62)]
_TYPES: dict[str, Any] = {
    "began": tuple[Height, Index | None, SignRecord | None],
    "said": Spoken,
    "proposal": ProposalMessage,
    "vote": Prevote | Precommit,
    "polka": PolkaCert,
    "commit": CommitCert,
    "verdict": tuple[Digest32, bool],
    "pending": tuple[bytes, _BytesCount, _Rate],
    "value": tuple[Round, Header],
    "collected": None,
    "timeout": tuple[io.TimeoutKind, Round],
    "restarted": None,
    "ended": Height,
}


def encode_entry(entry: Entry) -> tuple[Kind, bytes]:
    """Return kind and body of an entry."""
    kind, body = _parts(entry)
    return kind, codec.encode(body)


def decode_entry(kind: str, body: bytes) -> Entry:
    """Return the entry of this kind and body.

    Raises:
        MalformedMessage: There is no such kind, or no such body of it.
    """
    if kind not in _TYPES:
        raise MalformedMessage(f"no entry of a log is of kind {kind!r}")
    content: Any = codec.decode(body, _TYPES[kind], BODY_BYTES_MAX)
    match kind:
        case "began":
            return Began(*content)
        case "said":
            return Said(content)
        case "proposal":
            return io.ProposalReceived(content)
        case "vote":
            return io.VoteReceived(content)
        case "polka":
            return io.PolkaReceived(content)
        case "commit":
            return io.CommitReceived(content)
        case "verdict":
            return io.ValueReady(*content)
        case "pending":
            return io.ValuePending(*content)
        case "value":
            return io.LocalValue(*content)
        case "collected":
            return io.CollectEnded()
        case "timeout":
            return io.TimeoutFired(*content)
        case "restarted":
            return io.Restarted()
        case _:
            return Ended(content)


def input_of(message: Spoken) -> io.Input:
    """Return the input by which an engine hears `message`."""
    return io.ProposalReceived(message) if isinstance(message, ProposalMessage) else io.VoteReceived(message)


def _parts(entry: Entry) -> tuple[Kind, object]:
    match entry:
        case Began():
            return "began", (entry.height, entry.own_index, entry.record)
        case Said(message=message):
            return "said", message
        case Ended(height=height):
            return "ended", height
        case io.ProposalReceived(message=proposal):
            return "proposal", proposal
        case io.VoteReceived(vote=vote):
            return "vote", vote
        case io.PolkaReceived(cert=polka):
            return "polka", polka
        case io.CommitReceived(cert=commit):
            return "commit", commit
        case io.ValueReady():
            return "verdict", (entry.value_id, entry.is_valid)
        case io.ValuePending():
            return "pending", (entry.value_id, entry.missing_bytes, entry.bytes_per_second)
        case io.LocalValue():
            return "value", (entry.round, entry.header)
        case io.CollectEnded():
            return "collected", None
        case io.TimeoutFired():
            return "timeout", (entry.kind, entry.round)
        case io.Restarted():
            return "restarted", None
        case _:
            assert_never(entry)
