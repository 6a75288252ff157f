"""What a node can be told. Each event is a plain value, so a run can be recorded and replayed."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from p2pfed.chain.state import ChainState
from p2pfed.errors import PeerFault
from p2pfed.types.address import Multiaddr
from p2pfed.types.block import Block, Body, Header
from p2pfed.types.evidence import InvalidUpdate
from p2pfed.types.light import LightBlock
from p2pfed.types.model import ModelState
from p2pfed.types.snapshot import Snapshot
from p2pfed.types.transaction import Transaction
from p2pfed.types.wire import ControlMessage

TimerKind = Literal["collect", "propose", "prevote", "precommit", "gossip", "sync", "listen"]


class Timer(Struct, frozen=True):
    """A deadline that the node set; stale ones are ignored, so none is ever cancelled."""

    kind: TimerKind
    height: int
    round: int


class Started(Struct, frozen=True):
    """The first event of a node's life."""


class PeerConnected(Struct, frozen=True):
    """An authenticated pipe to `peer` (public key) is open; `address` is where we dialled it, if we did."""

    peer: bytes
    address: Multiaddr | None


class PeerDisconnected(Struct, frozen=True):
    """The pipe to `peer` is closed."""

    peer: bytes


class DialFailed(Struct, frozen=True):
    """Answer to Dial where no pipe came of it."""

    addresses: tuple[Multiaddr, ...]


class AddressesChanged(Struct, frozen=True):
    """Where this peer can be reached from now on, without its key."""

    addresses: tuple[Multiaddr, ...]


class MessageReceived(Struct, frozen=True):
    """`peer` sent a message that decoded canonically; nothing else of it is checked.

    message_bytes, message_id: The length of its encoding and the SHA-256 of it.
    """

    peer: bytes
    message: ControlMessage
    message_bytes: int
    message_id: bytes


class TransactionSubmitted(Struct, frozen=True):
    """This peer's operator wants a signed transaction in a block."""

    transaction: Transaction


class Evaluated(Struct, frozen=True):
    """This peer's learner measured the model of `height`; `types.quality` has the units."""

    height: int
    score: int
    classes: bytes


class PeerMisbehaved(Struct, frozen=True):
    """`peer` sent bytes that are no message, or broke a rule of the bulk plane."""

    peer: bytes
    fault: PeerFault


class TimerFired(Struct, frozen=True):
    timer: Timer


class Trained(Struct, frozen=True):
    """Answer to Train: the payload is durable in the blob store under `payload_root`."""

    base_height: int
    payload_root: bytes
    payload_bytes: int
    examples: int


class TrainingFailed(Struct, frozen=True):
    """Answer to Train: no update of this peer at this height."""

    base_height: int
    reason: str


class PayloadFetched(Struct, frozen=True):
    """Answer to FetchPayload: whole, Merkle-checked and durable; `is_valid` is the static check.

    Where it is not valid, `proof` convicts the trainer of it.
    """

    update_id: bytes
    is_valid: bool
    proof: InvalidUpdate | None = None


class BodyFetched(Struct, frozen=True):
    """Answer to FetchBody: bytes that match `header.body_hash` and decode; durable."""

    header: Header
    body: Body


class ProposalBuilt(Struct, frozen=True):
    """Answer to BuildProposal: the block, durable as pending, and the state after it."""

    height: int
    round: int
    header: Header
    body: Body
    state: ChainState


class ProposalChecked(Struct, frozen=True):
    """Answer to CheckProposal: the state after the block, or None and `refusal` says why it is invalid."""

    value_id: bytes
    state: ChainState | None
    refusal: str


class BlocksFetched(Struct, frozen=True):
    """Answer to FetchBlocks; empty where the peer failed, or, with `is_missing`, said that it has none."""

    peer: bytes
    blocks: tuple[Block, ...]
    is_missing: bool = False


class ModelFetched(Struct, frozen=True):
    """Answer to FetchModel: matches both roots of the header of `height`; durable. None: nobody had it."""

    height: int
    model: ModelState | None


class SnapshotOffered(Struct, frozen=True):
    """Answer to AskSnapshot; None where the peer has none or failed."""

    peer: bytes
    snapshot: Snapshot | None


class LightBlockFetched(Struct, frozen=True):
    """Answer to AskLightBlock; None where the peer has none or failed."""

    peer: bytes
    height: int
    block: LightBlock | None


class SnapshotFetched(Struct, frozen=True):
    """Answer to FetchSnapshot: the block and the whole state after it, its model durable.

    Without a state nobody serves the parts any more, or, with a `fault`, the ledger is not the one under
    the header's state root, which is the fault of all who offered it.
    """

    snapshot: Snapshot
    block: Block | None
    state: ChainState | None
    fault: PeerFault | None


Event = (
    Started
    | PeerConnected
    | PeerDisconnected
    | DialFailed
    | AddressesChanged
    | MessageReceived
    | TransactionSubmitted
    | Evaluated
    | PeerMisbehaved
    | TimerFired
    | Trained
    | TrainingFailed
    | PayloadFetched
    | BodyFetched
    | ProposalBuilt
    | ProposalChecked
    | BlocksFetched
    | ModelFetched
    | SnapshotOffered
    | LightBlockFetched
    | SnapshotFetched
)
