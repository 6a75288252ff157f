"""What travels: control messages (pushed, small) and bulk requests with their responses (pulled)."""

from __future__ import annotations

from typing import Annotated, Literal, final

import msgspec

from p2pfed.primitives import codec
from p2pfed.primitives.merkle import CHUNK_BYTES, PATH_LENGTH_MAX
from p2pfed.types.availability import AvailMessage
from p2pfed.types.block import Block, Header
from p2pfed.types.certificate import Bitmap, CommitCert, PolkaCert
from p2pfed.types.evidence import Evidence
from p2pfed.types.light import LightBlock, ListProof
from p2pfed.types.message import Count, Digest32, Height, Message, Round, ValidRound
from p2pfed.types.params import (
    BLOCKS_PER_RESPONSE_MAX,
    BODY_BYTES_MAX,
    CONTROL_BYTES_MAX,
    GENESIS_BYTES_MAX,
    MIB,
    PARTICIPANTS_MAX,
    PEER_RECORDS_PER_MESSAGE_MAX,
    PROOF_KEY_BYTES_MAX,
)
from p2pfed.types.peer import PeerRecord
from p2pfed.types.pledge import Pledge
from p2pfed.types.proposal import Proposal
from p2pfed.types.quality import Quality
from p2pfed.types.snapshot import Snapshot
from p2pfed.types.transaction import Transaction
from p2pfed.types.update import UpdateHeader
from p2pfed.types.vote import Precommit, Prevote


@final
class ProposalMessage(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=9):
    """A proposal with its header, and the polka that a re-proposal needs (else None)."""

    proposal: Proposal
    header: Header
    polka: PolkaCert | None


class RoundVotes(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Which votes of a round a peer holds, as bitmaps over the validators of the height."""

    round: Round
    prevotes: Bitmap
    precommits: Bitmap
    has_proposal: bool


LISTENS = 4  # The step of a digest after the four of a round.


class Digest(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=14):
    """What a peer holds of the height it works on, so that others send what it lacks.

    `height` is the one it works on: its last final block is `height - 1`. `updates` is a bitmap over the
    trainers of that height in key order: whose update header it holds. Where work is paid, whose pledge, and
    from its own second part of COLLECT on whose pledge and header. `step` is LISTENS where it works on no
    height before it has listened (R6).
    """

    height: Height
    round: Round
    step: Annotated[int, msgspec.Meta(ge=0, le=LISTENS)]
    locked_round: ValidRound
    valid_round: ValidRound
    rounds: Annotated[tuple[RoundVotes, ...], msgspec.Meta(max_length=2)]
    avails: Bitmap
    updates: Annotated[bytes, msgspec.Meta(max_length=(PARTICIPANTS_MAX + 7) // 8)]


class PeerRecords(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=15):
    """Where peers can be reached: sent on connection and whenever something new is learned."""

    records: Annotated[tuple[PeerRecord, ...], msgspec.Meta(max_length=PEER_RECORDS_PER_MESSAGE_MAX)]


ControlMessage = (
    UpdateHeader
    | Pledge
    | AvailMessage
    | Prevote
    | Precommit
    | PolkaCert
    | CommitCert
    | ProposalMessage
    | Transaction
    | Quality
    | Evidence
    | Digest
    | PeerRecords
)


class GetChunk(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=20):
    """Ask for chunk `index` of the blob (payload, body, model) whose chunk root is `root`."""

    root: Digest32
    index: Annotated[int, msgspec.Meta(ge=0, le=1 << 20)]


class GetBlocks(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=21):
    """Ask for final blocks from `from_height` on."""

    from_height: Height
    count: Annotated[int, msgspec.Meta(ge=1, le=BLOCKS_PER_RESPONSE_MAX)]


class GetGenesis(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=22):
    """Ask for the canonical genesis of the network; the asker checks it against the chain id it was given."""


class GetLightBlock(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=28):
    """Ask for what a light client needs of the final block of `height`; 0: of the newest one."""

    height: Height


class GetProof(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=29):
    """Ask for the leaf of `key` under a root of the header of `height`, or for proof that there is none.

    `tree` is `state` (keys of spec/ledger.md L2, under state_root) or `updates` (update ids, updates_root).
    """

    height: Height
    tree: Literal["state", "updates"]
    key: Annotated[bytes, msgspec.Meta(max_length=PROOF_KEY_BYTES_MAX)]


class GetSnapshot(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=27):
    """Ask for the manifest of the snapshot of `height`; 0: of the newest one that is held whole."""

    height: Height


BulkRequest = GetChunk | GetBlocks | GetGenesis | GetLightBlock | GetProof | GetSnapshot


class Chunk(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=30):
    """One chunk with its Merkle path; `count` is how many chunks the blob has."""

    count: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)]
    data: Annotated[bytes, msgspec.Meta(min_length=1, max_length=CHUNK_BYTES)]
    path: Annotated[tuple[Digest32, ...], msgspec.Meta(max_length=PATH_LENGTH_MAX)]


class Blocks(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=31):
    """Consecutive final blocks, at least one where the sender has it, at most RESPONSE_BYTES_MAX in all."""

    blocks: Annotated[tuple[Block, ...], msgspec.Meta(max_length=BLOCKS_PER_RESPONSE_MAX)]


class GenesisBytes(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=32):
    """The canonical genesis."""

    data: Annotated[bytes, msgspec.Meta(max_length=GENESIS_BYTES_MAX)]


class Missing(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=33):
    """The sender does not hold what was asked for; `count` is 0."""

    count: Count = 0


BulkResponse = Chunk | Blocks | GenesisBytes | LightBlock | ListProof | Snapshot | Missing

REQUEST_BYTES_MAX = 256
RESPONSE_BYTES_MAX = 2 * BODY_BYTES_MAX + MIB


def decode_control(data: bytes) -> ControlMessage:
    """Return the control message in `data`; raises MalformedMessage."""
    return codec.decode(data, ControlMessage, CONTROL_BYTES_MAX)  # type: ignore[arg-type]


def decode_request(data: bytes) -> BulkRequest:
    """Return the bulk request in `data`; raises MalformedMessage."""
    return codec.decode(data, BulkRequest, REQUEST_BYTES_MAX)  # type: ignore[arg-type]


def decode_response(data: bytes) -> BulkResponse:
    """Return the bulk response in `data`; raises MalformedMessage."""
    return codec.decode(data, BulkResponse, RESPONSE_BYTES_MAX, _is_spelling)  # type: ignore[arg-type]


def _is_spelling(response: BulkResponse, data: bytes) -> bool:
    """Answer whether `data` is the canonical spelling of `response`, without encoding a whole chunk again.

    What a chunk holds is taken over as it is; only what stands around it can be spelled in other ways.
    """
    if not isinstance(response, Chunk):
        return codec.encode(response) == data
    around = codec.encode(Chunk(response.count, b"", response.path))
    # An array's head is one byte in both; no bytes at all are spelled in two.
    at = len(codec.encode((Chunk.__struct_config__.tag, response.count)))
    before, after = around[:at] + _bytes_head(len(response.data)), around[at + 2 :]
    return (
        len(data) == len(before) + len(response.data) + len(after)
        and data[: len(before)] == before
        and data[len(data) - len(after) :] == after
    )


def _bytes_head(length: int) -> bytes:
    """Return how msgpack begins so many bytes: one of three marks and their number, in the fewest bytes."""
    mark, width = (b"\xc4", 1) if length < 1 << 8 else (b"\xc5", 2) if length < 1 << 16 else (b"\xc6", 4)
    return mark + length.to_bytes(width, "big")
