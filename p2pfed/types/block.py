"""A block: a header that names everything by root, and the body under those roots."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, ClassVar, Literal

import msgspec

from p2pfed.primitives import codec
from p2pfed.primitives.digest import tagged
from p2pfed.primitives.merkle import chunk_root
from p2pfed.types.availability import IDS_MAX, AvailEntry
from p2pfed.types.certificate import CommitCert
from p2pfed.types.evidence import Evidence
from p2pfed.types.message import Digest32, Height, Message, PublicKey, Round, TimeMs
from p2pfed.types.params import (
    EVIDENCE_PER_BLOCK_MAX,
    TRANSACTIONS_PER_BLOCK_MAX,
    UPDATES_MAX,
    VALIDATORS_MAX,
)
from p2pfed.types.quality import Quality
from p2pfed.types.scores import Scores
from p2pfed.types.transaction import Transaction
from p2pfed.types.update import UpdateHeader

HEADER_VERSION = 1
FLAG_EMPTY = 1  # No new model at this height; the ledger goes on.


class Header(Message, frozen=True, array_like=True, forbid_unknown_fields=True, dict=True):
    """Everything a block decides, by root. Roots not used yet are EMPTY_ROOT; times in ms since 1970."""

    version: Literal[1]
    chain_id: Digest32
    height: Height
    round0: Round  # The round in which this value was first proposed.
    time_ms: TimeMs
    prev_header_hash: Digest32
    prev_commit_hash: Digest32
    train_index: Height  # Heights so far that carried a new model.
    flags: Annotated[int, msgspec.Meta(ge=0, le=255)]
    proposer: PublicKey
    seed_reveal: Annotated[bytes, msgspec.Meta(max_length=0)]
    validators_hash: Digest32
    next_validators_hash: Digest32
    params_hash: Digest32
    avail_root: Digest32
    updates_root: Digest32
    rule: Annotated[str, msgspec.Meta(max_length=64)]  # Aggregation rule used; "" where EMPTY.
    exponents_root: Digest32
    aggregate_root: Digest32
    model_root: Digest32
    model_parent: Height  # The height whose model this one was made from.
    scores_root: Digest32
    transactions_root: Digest32
    receipts_root: Digest32
    state_root: Digest32
    evidence_root: Digest32
    extensions_root: Digest32
    body_hash: Digest32

    FIRST_HEIGHT: ClassVar[int] = 1

    @cached_property
    def value_id(self) -> bytes:
        """The name that votes carry: H("hdr", header). Asked for again and again, and a header is frozen."""
        return tagged("hdr", codec.encode(self))

    @property
    def is_empty(self) -> bool:
        return bool(self.flags & FLAG_EMPTY)


class Body(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The content of a block. It travels on the bulk plane under `header.body_hash`, its chunk root."""

    avails: Annotated[tuple[AvailEntry, ...], msgspec.Meta(max_length=VALIDATORS_MAX)]
    candidates: Annotated[tuple[Digest32, ...], msgspec.Meta(max_length=IDS_MAX)]
    updates: Annotated[tuple[UpdateHeader, ...], msgspec.Meta(max_length=UPDATES_MAX)]
    # Words on quality come after those of participants, only in networks with a gate; scores come last, and
    # only in networks that pay for work.
    transactions: Annotated[
        tuple[Transaction | Quality | Scores, ...], msgspec.Meta(max_length=TRANSACTIONS_PER_BLOCK_MAX)
    ]
    evidence: Annotated[tuple[Evidence, ...], msgspec.Meta(max_length=EVIDENCE_PER_BLOCK_MAX)]
    last_commit: CommitCert | None  # None only at height 1.

    @property
    def scores(self) -> Scores | None:
        """The scores of the updates, None where the block has none."""
        last = self.transactions[-1] if self.transactions else None
        return last if isinstance(last, Scores) else None

    @property
    def signed_transactions(self) -> tuple[Transaction, ...]:
        """The transactions of participants."""
        return tuple(item for item in self.transactions if not isinstance(item, Quality | Scores))

    @property
    def qualities(self) -> tuple[Quality, ...]:
        """The words on the model of the last block."""
        return tuple(item for item in self.transactions if isinstance(item, Quality))

    def hash(self) -> bytes:
        """Return the chunk root of the canonical bytes."""
        return chunk_root(codec.encode(self))


class Block(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A final block as it is stored and served: header, body and the certificate that made it final."""

    header: Header
    body: Body
    commit: CommitCert
