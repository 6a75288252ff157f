"""What this peer may sign: one durable record that makes equivocation impossible, also across crashes.

The node makes the record durable before the message leaves. Rules R1-R4 and R7 of docs/spec/consensus.md.
"""

from __future__ import annotations

from typing import Annotated, Literal, Protocol, TypeVar, assert_never

import msgspec
from msgspec import Struct

from p2pfed.primitives import codec
from p2pfed.primitives.keys import SIGNATURE_BYTES
from p2pfed.types.availability import Avail, AvailMessage, list_hash
from p2pfed.types.block import Header
from p2pfed.types.certificate import PolkaCert
from p2pfed.types.message import Height, Message, SignedMessage, ValidRound
from p2pfed.types.params import KIB
from p2pfed.types.proposal import Proposal
from p2pfed.types.update import UpdateHeader
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import ProposalMessage

RECORD_BYTES_MAX = 256 * KIB  # Two certificates of 400 signatures and a list of 1024 ids take 90 KiB.
_NOTHING, _PROPOSAL, _PREVOTE, _PRECOMMIT = 0, 1, 2, 3  # Equal to the machine's steps.


class SigningKey(Protocol):
    """What signs: `primitives.keys.PrivateKey`, or a door to one that is kept elsewhere."""

    @property
    def public(self) -> bytes: ...

    def sign(self, digest: bytes) -> bytes: ...


class SignRecord(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """All that this key must never contradict: the newest place it signed at, and what it said there.

    `step` is that of the last message: 1 proposal, 2 prevote, 3 precommit, 0 none. The messages are those of
    (height, round). `lock_*` belong to `height`; `avail` and `trainer` are slots with heights of their own.
    """

    version: Literal[1]
    height: Height
    round: ValidRound
    step: Annotated[int, msgspec.Meta(ge=0, le=3)]
    lock_round: ValidRound
    lock_cert: PolkaCert | None
    lock_header: Header | None
    proposal: ProposalMessage | None
    prevote: Prevote | None
    precommit: Precommit | None
    avail: AvailMessage | None
    trainer: UpdateHeader | None


class SignProposal(Struct, frozen=True):
    header: Header
    round: int
    valid_round: int
    index: int
    polka: PolkaCert | None


class SignPrevote(Struct, frozen=True):
    height: int
    round: int
    value_id: bytes | None
    valid_round: int
    index: int


class SignPrecommit(Struct, frozen=True):
    """Not nil: `lock_cert` and `lock_header` are the polka and the header of this round's value."""

    height: int
    round: int
    value_id: bytes | None
    index: int
    lock_cert: PolkaCert | None
    lock_header: Header | None


class SignAvail(Struct, frozen=True):
    """`update_ids` ascending, without duplicates."""

    height: int
    attempt: int
    index: int
    update_ids: tuple[bytes, ...]
    time_ms: int


class SignUpdate(Struct, frozen=True):
    """An update header without trainer (this key) and signature."""

    base_height: int
    base_model_root: bytes
    payload_bytes: int
    payload_root: bytes
    codec: int
    examples: int


SignRequest = SignProposal | SignPrevote | SignPrecommit | SignAvail | SignUpdate
Signable = ProposalMessage | Prevote | Precommit | AvailMessage | UpdateHeader


class Signed(Struct, frozen=True):
    """`message` may leave once `record` is durable; not new: it is the one that left before."""

    record: SignRecord
    message: Signable
    is_new: bool


class Refused(Struct, frozen=True):
    """Signing could contradict what was said; the reason is one clause."""

    reason: str


S = TypeVar("S", bound=SignedMessage)
_UNSIGNED = bytes(SIGNATURE_BYTES)
_NO_WORDS: dict[str, object] = {"proposal": None, "prevote": None, "precommit": None}
_NO_LOCK_NO_WORDS: dict[str, object] = {**_NO_WORDS, "lock_round": -1, "lock_cert": None, "lock_header": None}


def initial_record() -> SignRecord:
    """Return the record of a key that never signed."""
    return SignRecord(1, 0, -1, _NOTHING, -1, None, None, None, None, None, None, None)


def decode_record(data: bytes) -> SignRecord:
    """Return the record in `data`; raises MalformedMessage."""
    return codec.decode(data, SignRecord, RECORD_BYTES_MAX)


def decide(record: SignRecord, request: SignRequest, key: SigningKey, chain_id: bytes) -> Signed | Refused:
    """Return the signed message and the record to make durable first, or why nothing is signed.

    A request for a place where we spoke returns what we said there, whatever it asks for now (R2).
    """
    match request:
        case SignPrevote():
            return _decide_prevote(record, request, key, chain_id)
        case SignPrecommit():
            return _decide_precommit(record, request, key, chain_id)
        case SignProposal():
            return _decide_proposal(record, request, key, chain_id)
        case SignAvail():
            return _decide_avail(record, request, key, chain_id)
        case SignUpdate():
            return _decide_update(record, request, key, chain_id)
        case _:
            assert_never(request)


def _decide_proposal(
    record: SignRecord, ask: SignProposal, key: SigningKey, chain_id: bytes
) -> Signed | Refused:
    placed = _place(record, ask.header.height, ask.round, _PROPOSAL, record.proposal)
    if not isinstance(placed, SignRecord):
        return placed
    proposal = Proposal(
        ask.header.height, ask.round, ask.header.value_id, ask.valid_round, ask.index, _UNSIGNED
    )
    message = ProposalMessage(_sign(proposal, key, chain_id), ask.header, ask.polka)
    return Signed(msgspec.structs.replace(placed, proposal=message), message, is_new=True)


def _decide_prevote(
    record: SignRecord, ask: SignPrevote, key: SigningKey, chain_id: bytes
) -> Signed | Refused:
    placed = _place(record, ask.height, ask.round, _PREVOTE, record.prevote)
    if not isinstance(placed, SignRecord):
        return placed
    if ask.value_id is not None and ask.valid_round < placed.lock_round:  # R3
        return Refused(f"locked in round {placed.lock_round}, above the valid round {ask.valid_round}")
    assert ask.value_id is not None or ask.valid_round == -1
    vote = Prevote(ask.height, ask.round, ask.value_id, ask.valid_round, ask.index, _UNSIGNED)
    message = _sign(vote, key, chain_id)
    return Signed(msgspec.structs.replace(placed, prevote=message), message, is_new=True)


def _decide_precommit(
    record: SignRecord, ask: SignPrecommit, key: SigningKey, chain_id: bytes
) -> Signed | Refused:
    placed = _place(record, ask.height, ask.round, _PRECOMMIT, record.precommit)
    if not isinstance(placed, SignRecord):
        return placed
    if ask.value_id is not None:
        cert, header = ask.lock_cert, ask.lock_header
        if cert is None or (cert.height, cert.round, cert.value_id) != (ask.height, ask.round, ask.value_id):
            return Refused("a precommit needs the polka of its own round and value")
        if header is None or header.value_id != ask.value_id:
            return Refused("a precommit needs the header of its value, to propose it again")
        placed = msgspec.structs.replace(placed, lock_round=ask.round, lock_cert=cert, lock_header=header)
    message = _sign(Precommit(ask.height, ask.round, ask.value_id, ask.index, _UNSIGNED), key, chain_id)
    return Signed(msgspec.structs.replace(placed, precommit=message), message, is_new=True)


def _decide_avail(record: SignRecord, ask: SignAvail, key: SigningKey, chain_id: bytes) -> Signed | Refused:
    if record.avail is not None:  # R4
        said = record.avail.avail
        if (ask.height, ask.attempt) == (said.height, said.attempt):
            return Signed(record, record.avail, is_new=False)
        if (ask.height, ask.attempt) < (said.height, said.attempt):
            return Refused(f"AVAIL {ask.height}/{ask.attempt} is below {said.height}/{said.attempt}")
    digest, count = list_hash(ask.update_ids), len(ask.update_ids)
    avail = Avail(ask.height, ask.attempt, ask.index, digest, count, ask.time_ms, _UNSIGNED)
    message = AvailMessage(_sign(avail, key, chain_id), ask.update_ids)
    return Signed(msgspec.structs.replace(record, avail=message), message, is_new=True)


def _decide_update(record: SignRecord, ask: SignUpdate, key: SigningKey, chain_id: bytes) -> Signed | Refused:
    if record.trainer is not None:  # R7
        said = record.trainer.base_height
        if ask.base_height == said:
            return Signed(record, record.trainer, is_new=False)
        if ask.base_height < said:
            return Refused(f"an update from height {ask.base_height} is below {said}")
    header = UpdateHeader(
        key.public,
        ask.base_height,
        ask.base_model_root,
        ask.payload_bytes,
        ask.payload_root,
        ask.codec,
        ask.examples,
        _UNSIGNED,
    )
    message = _sign(header, key, chain_id)
    return Signed(msgspec.structs.replace(record, trainer=message), message, is_new=True)


def _place(
    record: SignRecord,
    height: int,
    round: int,  # noqa: A002
    step: int,
    said: ProposalMessage | Prevote | Precommit | None,
) -> SignRecord | Signed | Refused:
    """Return the record moved to this place, what was `said` there before, or a refusal."""
    if (height, round) == (record.height, record.round) and said is not None:  # R2
        return Signed(record, said, is_new=False)
    if (height, round, step) <= (record.height, record.round, record.step):  # R1
        place = f"{record.height}/{record.round}/{record.step}"
        return Refused(f"{height}/{round}/{step} is not above the record {place}")
    cleared = _NO_LOCK_NO_WORDS if height > record.height else _NO_WORDS if round > record.round else {}
    return msgspec.structs.replace(record, height=height, round=round, step=step, **cleared)


def _sign(message: S, key: SigningKey, chain_id: bytes) -> S:
    return msgspec.structs.replace(message, signature=key.sign(message.digest(chain_id)))
