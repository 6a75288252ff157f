"""Typed facts: everything a node has to tell logs, pages and recordings. They change nothing."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

LeaveReason = Literal["all", "grace", "deadline", "quorum", "round", "restart"]


# Of updates that are refused: for what is in them, or because nobody who has them gives them.
BROKEN, UNSERVED = "payload breaks the static rules", "its payload did not come"


class PeerJoined(Struct, frozen=True):
    """A pipe to `peer` opened; `connected_power` of `total_power` is reachable now, this peer included."""

    peer: bytes
    connected_power: int
    total_power: int


class PeerLeft(Struct, frozen=True):
    peer: bytes
    connected_power: int
    total_power: int


class PeerBlamed(Struct, frozen=True):
    """`peer` sent what no honest peer sends."""

    peer: bytes
    reason: str


class HeightStarted(Struct, frozen=True):
    height: int
    validators: int
    expected_updates: int


class UpdateMade(Struct, frozen=True):
    """This peer trained and published its update for the next height."""

    height: int
    update_id: bytes
    examples: int


class UpdateSkipped(Struct, frozen=True):
    """This peer has no update at this height: no data, a failed learner."""

    height: int
    reason: str


class UpdateReceived(Struct, frozen=True):
    """A trainer's payload is held, checked and durable."""

    height: int
    trainer: bytes
    update_id: bytes


class UpdateRefused(Struct, frozen=True):
    """A trainer's update does not count at this peer: `reason` is BROKEN or UNSERVED."""

    height: int
    trainer: bytes
    reason: str


class PledgesEnded(Struct, frozen=True):
    """This peer takes no more pledges for this height; `reason` names the clause of rule C1."""

    height: int
    pledged: int
    expected: int
    reason: LeaveReason


class CollectEnded(Struct, frozen=True):
    """This peer stopped waiting for updates; `reason` names the clause of rule C1."""

    height: int
    held: int
    expected: int
    reason: LeaveReason


class RoundStarted(Struct, frozen=True):
    height: int
    round: int
    proposer: bytes


class ProposalRefused(Struct, frozen=True):
    """Our own recomputation disagrees with the proposal."""

    height: int
    proposer: bytes
    reason: str


class BlockCommitted(Struct, frozen=True):
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


class EvidenceFound(Struct, frozen=True):
    """Proof of a validator's lie, to be put into a block."""

    height: int
    culprit: bytes
    kind: str


class StakeSlashed(Struct, frozen=True):
    """A block convicted `culprit`."""

    height: int
    culprit: bytes
    kind: str


class ModelJudged(Struct, frozen=True):
    """The gate's medians of the model of `height`: its score and the best before, in 2^-16; -1: none.

    words: How many validators spoke.
    """

    height: int
    score: int
    best: int
    words: int


class ModelRejected(Struct, frozen=True):
    """The model of `height` is worse than genesis allows: the next block goes back to that of `back_to`."""

    height: int
    score: int
    back_to: int
    best: int


class ValidatorJailed(Struct, frozen=True):
    """The block of `height` took `validator` out of the vote: it showed no sign of life for too long."""

    height: int
    validator: bytes


class SetChanged(Struct, frozen=True):
    """By the block of `height` other powers vote from `from_height` on; who joined and who left."""

    height: int
    from_height: int
    joined: tuple[bytes, ...]
    left: tuple[bytes, ...]
    total_power: int


class CatchingUp(Struct, frozen=True):
    """This peer fetches blocks up to `target` from `peer`."""

    height: int
    target: int
    peer: bytes


class BlocksGone(Struct, frozen=True):
    """No connected member has the block of `height`, though all are ahead: they began later."""

    height: int
    remedy: str


class SnapshotChosen(Struct, frozen=True):
    """This peer fetches the state after `height`, `size` bytes: its header is verified.

    `offered_by` peers have the same snapshot, `confirmed_by` others have the same block.
    """

    height: int
    value_id: bytes
    size: int
    offered_by: int
    confirmed_by: int


class StateSynced(Struct, frozen=True):
    """The whole state after `height` is here and durable; blocks go on from there."""

    height: int
    value_id: bytes


class Listening(Struct, frozen=True):
    """Blocks are above the signer's record: for `wait_ms` with a peer connected nothing is signed (R6)."""

    height: int
    record_height: int
    wait_ms: int


class NetworkFinished(Struct, frozen=True):
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
    | PledgesEnded
    | CollectEnded
    | RoundStarted
    | ProposalRefused
    | BlockCommitted
    | EvidenceFound
    | StakeSlashed
    | ValidatorJailed
    | ModelJudged
    | ModelRejected
    | SetChanged
    | CatchingUp
    | BlocksGone
    | SnapshotChosen
    | StateSynced
    | Listening
    | NetworkFinished
)
