"""What a node asks for. Effects run in order; a crash between any two is safe."""

from __future__ import annotations

from dataclasses import dataclass

from p2pfed.chain.propose import ProposalInputs
from p2pfed.chain.state import ChainState
from p2pfed.consensus.signer import SignRecord
from p2pfed.errors import PeerFault
from p2pfed.node.events import Timer
from p2pfed.node.facts import Fact
from p2pfed.types.address import Multiaddr
from p2pfed.types.block import Block, Body, Header
from p2pfed.types.certificate import PolkaCert
from p2pfed.types.peer import PeerRecord
from p2pfed.types.update import UpdateHeader
from p2pfed.types.wire import ControlMessage


@dataclass(frozen=True, slots=True)
class Persist:
    """Replace the signer's record; durable (fsync) before the next effect starts."""

    record: SignRecord


@dataclass(frozen=True, slots=True)
class Send:
    """Send `message` to each of `peers`; whoever is gone by then is skipped."""

    peers: tuple[bytes, ...]
    message: ControlMessage


@dataclass(frozen=True, slots=True)
class ScheduleTimeout:
    timer: Timer
    delay_ms: int


@dataclass(frozen=True, slots=True)
class Train:
    """Train from the model of `state`, the one after `base_height`; see Trained and TrainingFailed."""

    base_height: int
    state: ChainState


@dataclass(frozen=True, slots=True)
class FetchPayload:
    """Pull the payload of `header` from one of `holders` after the other, check it, make it durable."""

    header: UpdateHeader
    holders: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class FetchBody:
    """Pull the body of `header` from one of `holders` after the other, make it durable."""

    header: Header
    holders: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class BuildProposal:
    """Run `chain.propose.build` with the payloads held; store the block as pending."""

    round: int
    state: ChainState
    inputs: ProposalInputs


@dataclass(frozen=True, slots=True)
class CheckProposal:
    """Run `chain.check.check` on `state` with the payloads held; store a valid block as pending."""

    state: ChainState
    header: Header
    body: Body


@dataclass(frozen=True, slots=True)
class FetchBlocks:
    """Ask `peer` for final blocks from `from_height`."""

    peer: bytes
    from_height: int


@dataclass(frozen=True, slots=True)
class FetchModel:
    """Pull weights and exponents under the roots of `header` from one of `holders` after the other."""

    header: Header
    holders: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class StoreBlock:
    """Write the block, its certificate and the state after it; durable before the next effect starts.

    A `state.model` of None (catching up) leaves the model of this height out. Every polka of the height
    is kept too: the chain of them convicts whoever forks.
    """

    block: Block
    state: ChainState
    polkas: tuple[PolkaCert, ...]


@dataclass(frozen=True, slots=True)
class StorePolkas:
    """Keep these polkas of a height that is not decided yet; durable before the next effect starts."""

    polkas: tuple[PolkaCert, ...]


@dataclass(frozen=True, slots=True)
class RememberPeers:
    """Keep these records for the next start; not urgent."""

    records: tuple[PeerRecord, ...]


@dataclass(frozen=True, slots=True)
class Dial:
    """Open a pipe to one of the addresses of a peer."""

    addresses: tuple[Multiaddr, ...]


@dataclass(frozen=True, slots=True)
class Disconnect:
    peer: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Blame:
    """`peer` sent something that no honest peer sends."""

    peer: bytes
    fault: PeerFault


@dataclass(frozen=True, slots=True)
class Observe:
    """A typed fact for logs, pages and recordings; it changes nothing."""

    fact: Fact


@dataclass(frozen=True, slots=True)
class Halt:
    """Stop this peer: going on would be unsafe or is not wanted. `exit_code` as in docs."""

    reason: str
    exit_code: int


Effect = (
    Persist
    | Send
    | ScheduleTimeout
    | Train
    | FetchPayload
    | FetchBody
    | BuildProposal
    | CheckProposal
    | FetchBlocks
    | FetchModel
    | StoreBlock
    | StorePolkas
    | RememberPeers
    | Dial
    | Disconnect
    | Blame
    | Observe
    | Halt
)
