"""What a node can be told. Each event is a plain value, so a run can be recorded and replayed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from p2pfed.chain.state import ChainState
from p2pfed.errors import PeerFault
from p2pfed.types.address import Multiaddr
from p2pfed.types.block import Block, Body, Header
from p2pfed.types.evidence import InvalidUpdate
from p2pfed.types.model import ModelState
from p2pfed.types.wire import ControlMessage

TimerKind = Literal["collect", "propose", "prevote", "precommit", "gossip", "sync"]


@dataclass(frozen=True, slots=True)
class Timer:
    """A deadline that the node set; stale ones are ignored, so none is ever cancelled."""

    kind: TimerKind
    height: int
    round: int


@dataclass(frozen=True, slots=True)
class Started:
    """The first event of a node's life."""


@dataclass(frozen=True, slots=True)
class PeerConnected:
    """An authenticated pipe to `peer` (public key) is open; `address` is where we dialled it, if we did."""

    peer: bytes
    address: Multiaddr | None


@dataclass(frozen=True, slots=True)
class PeerDisconnected:
    """The pipe to `peer` is closed."""

    peer: bytes


@dataclass(frozen=True, slots=True)
class DialFailed:
    """Answer to Dial where no pipe came of it."""

    addresses: tuple[Multiaddr, ...]


@dataclass(frozen=True, slots=True)
class AddressesChanged:
    """Where this peer can be reached from now on, without its key."""

    addresses: tuple[Multiaddr, ...]


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """`peer` sent a message of `message_bytes` that decoded canonically; nothing else of it is checked."""

    peer: bytes
    message: ControlMessage
    message_bytes: int


@dataclass(frozen=True, slots=True)
class PeerMisbehaved:
    """`peer` sent bytes that are no message, or broke a rule of the bulk plane."""

    peer: bytes
    fault: PeerFault


@dataclass(frozen=True, slots=True)
class TimerFired:
    timer: Timer


@dataclass(frozen=True, slots=True)
class Trained:
    """Answer to Train: the payload is durable in the blob store under `payload_root`."""

    base_height: int
    payload_root: bytes
    payload_bytes: int
    examples: int


@dataclass(frozen=True, slots=True)
class TrainingFailed:
    """Answer to Train: no update of this peer at this height."""

    base_height: int
    reason: str


@dataclass(frozen=True, slots=True)
class PayloadFetched:
    """Answer to FetchPayload: whole, Merkle-checked and durable; `is_valid` is the static check.

    Where it is not valid, `proof` convicts the trainer of it.
    """

    update_id: bytes
    is_valid: bool
    proof: InvalidUpdate | None = None


@dataclass(frozen=True, slots=True)
class BodyFetched:
    """Answer to FetchBody: bytes that match `header.body_hash` and decode; durable."""

    header: Header
    body: Body


@dataclass(frozen=True, slots=True)
class ProposalBuilt:
    """Answer to BuildProposal: the block, durable as pending, and the state after it."""

    height: int
    round: int
    header: Header
    body: Body
    state: ChainState


@dataclass(frozen=True, slots=True)
class ProposalChecked:
    """Answer to CheckProposal: the state after the block, or None and `refusal` says why it is invalid."""

    value_id: bytes
    state: ChainState | None
    refusal: str


@dataclass(frozen=True, slots=True)
class BlocksFetched:
    """Answer to FetchBlocks; empty where the peer had none or failed."""

    peer: bytes
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class ModelFetched:
    """Answer to FetchModel: matches both roots of the header of `height`; durable. None: nobody had it."""

    height: int
    model: ModelState | None


Event = (
    Started
    | PeerConnected
    | PeerDisconnected
    | DialFailed
    | AddressesChanged
    | MessageReceived
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
)
