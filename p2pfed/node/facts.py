"""Typed facts: everything a node has to tell logs, pages and recordings. They change nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LeaveReason = Literal["all", "grace", "deadline", "quorum", "round", "restart"]


@dataclass(frozen=True, slots=True)
class PeerJoined:
    """A pipe to `peer` opened; `connected_power` of `total_power` is reachable now, this peer included."""

    peer: bytes
    connected_power: int
    total_power: int


@dataclass(frozen=True, slots=True)
class PeerLeft:
    peer: bytes
    connected_power: int
    total_power: int


@dataclass(frozen=True, slots=True)
class PeerBlamed:
    """`peer` sent what no honest peer sends."""

    peer: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class HeightStarted:
    height: int
    validators: int
    expected_updates: int


@dataclass(frozen=True, slots=True)
class UpdateMade:
    """This peer trained and published its update for the next height."""

    height: int
    update_id: bytes
    examples: int


@dataclass(frozen=True, slots=True)
class UpdateSkipped:
    """This peer has no update at this height: no data, a failed learner."""

    height: int
    reason: str


@dataclass(frozen=True, slots=True)
class UpdateReceived:
    """A trainer's payload is held, checked and durable."""

    height: int
    trainer: bytes
    update_id: bytes


@dataclass(frozen=True, slots=True)
class UpdateRefused:
    """A trainer's update does not count at this peer."""

    height: int
    trainer: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class CollectEnded:
    """This peer stopped waiting for updates; `reason` names the clause of rule C1."""

    height: int
    held: int
    expected: int
    reason: LeaveReason


@dataclass(frozen=True, slots=True)
class RoundStarted:
    height: int
    round: int
    proposer: bytes


@dataclass(frozen=True, slots=True)
class ProposalRefused:
    """Our own recomputation disagrees with the proposal."""

    height: int
    proposer: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class BlockCommitted:
    """A block is final and on this disk. `updates` counts U, `expected` the bonded trainers."""

    height: int
    round: int
    value_id: bytes
    model_root: bytes
    rule: str
    updates: int
    expected: int
    signed_power: int
    total_power: int
    took_ms: int
    trainers: tuple[bytes, ...]
    is_empty: bool
    caught_up: bool


@dataclass(frozen=True, slots=True)
class EvidenceFound:
    """Proof of a validator's lie, to be put into a block."""

    height: int
    culprit: bytes
    kind: str


@dataclass(frozen=True, slots=True)
class StakeSlashed:
    """A block convicted `culprit`."""

    height: int
    culprit: bytes
    kind: str


@dataclass(frozen=True, slots=True)
class CatchingUp:
    """This peer fetches blocks up to `target` from `peer`."""

    height: int
    target: int
    peer: bytes


@dataclass(frozen=True, slots=True)
class NetworkFinished:
    """The height that genesis names as the last one is final."""

    height: int


Fact = (
    PeerJoined
    | PeerLeft
    | PeerBlamed
    | HeightStarted
    | UpdateMade
    | UpdateSkipped
    | UpdateReceived
    | UpdateRefused
    | CollectEnded
    | RoundStarted
    | ProposalRefused
    | BlockCommitted
    | EvidenceFound
    | StakeSlashed
    | CatchingUp
    | NetworkFinished
)
