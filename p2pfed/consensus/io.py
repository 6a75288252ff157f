"""What the engine of one height can be told, and what it asks for. Plain values, carried out in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from p2pfed.types.block import Header
from p2pfed.types.certificate import CommitCert, PolkaCert
from p2pfed.types.evidence import Evidence
from p2pfed.types.vote import Vote
from p2pfed.types.wire import ProposalMessage

TimeoutKind = Literal["propose", "prevote", "precommit"]


@dataclass(frozen=True, slots=True)
class ProposalReceived:
    """A proposal of this height, a peer's or our own; verified by the engine."""

    message: ProposalMessage


@dataclass(frozen=True, slots=True)
class VoteReceived:
    """A vote of this height, a peer's or our own; verified by the engine."""

    vote: Vote


@dataclass(frozen=True, slots=True)
class PolkaReceived:
    """A polka certificate of this height; verified by the engine."""

    cert: PolkaCert


@dataclass(frozen=True, slots=True)
class CommitReceived:
    """A commit certificate of this height; verified by the engine."""

    cert: CommitCert


@dataclass(frozen=True, slots=True)
class ValueReady:
    """Answer to NeedValue: what the check of the complete block found. The first answer stands.

    Before `is_valid` is said, header, body and all payloads are durable. Missing data is no answer.
    """

    value_id: bytes
    is_valid: bool


@dataclass(frozen=True, slots=True)
class ValuePending:
    """How much of a value's data is still on the way, at the rate measured: it lengthens one wait."""

    value_id: bytes
    missing_bytes: int
    bytes_per_second: int


@dataclass(frozen=True, slots=True)
class LocalValue:
    """Answer to GetValue: the block we built; it is durable and counts as checked."""

    round: int
    header: Header


@dataclass(frozen=True, slots=True)
class CollectEnded:
    """The node stopped collecting payloads and signed its AVAIL."""


@dataclass(frozen=True, slots=True)
class TimeoutFired:
    """A Schedule ran out; one that no longer matters is ignored."""

    kind: TimeoutKind
    round: int


@dataclass(frozen=True, slots=True)
class Restarted:
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


@dataclass(frozen=True, slots=True)
class NewRound:
    """A round begins."""

    round: int


@dataclass(frozen=True, slots=True)
class LeaveCollect:
    """Others vote already: sign the AVAIL with what is held and answer with CollectEnded."""


@dataclass(frozen=True, slots=True)
class GetValue:
    """We propose in `round` and know no valid value: build one, answer with LocalValue when it is ready."""

    round: int


@dataclass(frozen=True, slots=True)
class NeedValue:
    """Fetch and check this value, answer with ValueReady; asked once per value."""

    value_id: bytes
    header: Header


@dataclass(frozen=True, slots=True)
class Propose:
    """Sign this proposal, broadcast it with `polka`, and feed it back."""

    round: int
    header: Header
    valid_round: int
    polka: PolkaCert | None


@dataclass(frozen=True, slots=True)
class SendPrevote:
    """Sign this prevote, broadcast it, and feed it back. `value_id` None is nil."""

    round: int
    value_id: bytes | None
    valid_round: int


@dataclass(frozen=True, slots=True)
class SendPrecommit:
    """Sign this precommit, broadcast it, and feed it back. Not nil: the polka and header it locks on."""

    round: int
    value_id: bytes | None
    lock_cert: PolkaCert | None
    lock_header: Header | None


@dataclass(frozen=True, slots=True)
class Schedule:
    """Answer with TimeoutFired after `delay_ms`."""

    kind: TimeoutKind
    round: int
    delay_ms: int


@dataclass(frozen=True, slots=True)
class PublishPolka:
    """Broadcast this certificate and keep it."""

    cert: PolkaCert


@dataclass(frozen=True, slots=True)
class PublishCommit:
    """Broadcast this certificate: the height is decided."""

    cert: CommitCert


@dataclass(frozen=True, slots=True)
class Decided:
    """The value is final. Not ready: fetch and check it first, vote no more, apply it when found valid.

    An engine that said "not ready" says Decided again, ready, when ValueReady comes.
    """

    cert: CommitCert
    is_ready: bool


@dataclass(frozen=True, slots=True)
class SafetyViolated:
    """A quorum decided what our own check refuses (`other` None), or two values are decided: halt."""

    cert: CommitCert
    other: CommitCert | None


@dataclass(frozen=True, slots=True)
class FoundEvidence:
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
