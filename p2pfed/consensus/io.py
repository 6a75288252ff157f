"""What the engine of one height can be told, and what it asks for. Plain values, carried out in order."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from p2pfed.types.block import Header
from p2pfed.types.certificate import CommitCert, PolkaCert
from p2pfed.types.evidence import Evidence
from p2pfed.types.vote import Vote
from p2pfed.types.wire import ProposalMessage

TimeoutKind = Literal["propose", "prevote", "precommit"]


class ProposalReceived(Struct, frozen=True):
    """A proposal of this height, a peer's or our own; verified by the engine."""

    message: ProposalMessage


class VoteReceived(Struct, frozen=True):
    """A vote of this height, a peer's or our own; verified by the engine."""

    vote: Vote


class PolkaReceived(Struct, frozen=True):
    """A polka certificate of this height; verified by the engine."""

    cert: PolkaCert


class CommitReceived(Struct, frozen=True):
    """A commit certificate of this height; verified by the engine."""

    cert: CommitCert


class ValueReady(Struct, frozen=True):
    """Answer to NeedValue: what the check of the complete block found. The first answer stands.

    Before `is_valid` is said, header, body and all payloads are durable. Missing data is no answer.
    """

    value_id: bytes
    is_valid: bool


class ValuePending(Struct, frozen=True):
    """How much of a value's data is still on the way, at the rate measured: it lengthens one wait."""

    value_id: bytes
    missing_bytes: int
    bytes_per_second: int


class LocalValue(Struct, frozen=True):
    """Answer to GetValue: the block we built; it is durable and counts as checked."""

    round: int
    header: Header


class CollectEnded(Struct, frozen=True):
    """The node stopped collecting payloads and signed its AVAIL."""


class TimeoutFired(Struct, frozen=True):
    """A Schedule ran out; one that no longer matters is ignored."""

    kind: TimeoutKind
    round: int


class Restarted(Struct, frozen=True):
    """The first input of an engine, after a start: say again what the record holds, and vote on."""


Input = (
    ProposalReceived
    | VoteReceived
    | PolkaReceived
    | CommitReceived
    | ValueReady
    | ValuePending
    | LocalValue
    | CollectEnded
    | TimeoutFired
    | Restarted
)


class NewRound(Struct, frozen=True):
    """A round begins."""

    round: int


class LeaveCollect(Struct, frozen=True):
    """Others vote already: sign the AVAIL with what is held and answer with CollectEnded."""


class GetValue(Struct, frozen=True):
    """We propose in `round` and know no valid value: build one, answer with LocalValue when it is ready."""

    round: int


class NeedValue(Struct, frozen=True):
    """Fetch and check this value, answer with ValueReady; asked once per value."""

    value_id: bytes
    header: Header


class Propose(Struct, frozen=True):
    """Sign this proposal, broadcast it with `polka`, and feed it back."""

    round: int
    header: Header
    valid_round: int
    polka: PolkaCert | None


class SendPrevote(Struct, frozen=True):
    """Sign this prevote, broadcast it, and feed it back. `value_id` None is nil."""

    round: int
    value_id: bytes | None
    valid_round: int


class SendPrecommit(Struct, frozen=True):
    """Sign this precommit, broadcast it, and feed it back. Not nil: the polka and header it locks on."""

    round: int
    value_id: bytes | None
    lock_cert: PolkaCert | None
    lock_header: Header | None


class Schedule(Struct, frozen=True):
    """Answer with TimeoutFired after `delay_ms`."""

    kind: TimeoutKind
    round: int
    delay_ms: int


class PublishPolka(Struct, frozen=True):
    """Broadcast this certificate and keep it."""

    cert: PolkaCert


class PublishCommit(Struct, frozen=True):
    """Broadcast this certificate: the height is decided."""

    cert: CommitCert


class Decided(Struct, frozen=True):
    """The value is final. Not ready: fetch and check it first, vote no more, apply it when found valid.

    An engine that said "not ready" says Decided again, ready, when ValueReady comes.
    """

    cert: CommitCert
    is_ready: bool


class SafetyViolated(Struct, frozen=True):
    """A quorum decided what our own check refuses (`other` None), or two values are decided: halt."""

    cert: CommitCert
    other: CommitCert | None


class FoundEvidence(Struct, frozen=True):
    """Proof of a lie, verified; keep it, tell it, put it in a block."""

    evidence: Evidence


Output = (
    NewRound
    | LeaveCollect
    | GetValue
    | NeedValue
    | Propose
    | SendPrevote
    | SendPrecommit
    | Schedule
    | PublishPolka
    | PublishCommit
    | Decided
    | SafetyViolated
    | FoundEvidence
)
