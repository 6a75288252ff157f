"""What a node asks for. Effects run in order; a crash between any two is safe."""

from __future__ import annotations

from msgspec import Struct

from p2pfed.chain.check import CheckedBody
from p2pfed.chain.propose import ProposalInputs
from p2pfed.chain.state import ChainState
from p2pfed.consensus.journal import Entry
from p2pfed.consensus.signer import SignRecord
from p2pfed.errors import PeerFault
from p2pfed.node.events import Timer
from p2pfed.node.facts import Fact
from p2pfed.types.address import Multiaddr
from p2pfed.types.block import Block, Body, Header
from p2pfed.types.certificate import PolkaCert
from p2pfed.types.peer import PeerRecord
from p2pfed.types.snapshot import Snapshot
from p2pfed.types.update import UpdateHeader
from p2pfed.types.wire import ControlMessage


class Persist(Struct, frozen=True):
    """Replace the signer's record; durable (fsync) before the next effect starts."""

    record: SignRecord


class Append(Struct, frozen=True):
    """Add this entry to the write-ahead log; durable with the next SyncLog (W1).

    `step` is pure: what an input brings is carried out after it, so its entry stands before all of that.
    """

    entry: Entry


class SyncLog(Struct, frozen=True):
    """Make every entry of the log durable before the next effect starts: our own words follow (W2)."""


class Send(Struct, frozen=True):
    """Send `message` to each of `peers`; whoever is gone by then is skipped."""

    peers: tuple[bytes, ...]
    message: ControlMessage


class ScheduleTimeout(Struct, frozen=True):
    timer: Timer
    delay_ms: int


class Train(Struct, frozen=True):
    """Train from the model of `state`, the one after `base_height`; see Trained and TrainingFailed."""

    base_height: int
    state: ChainState


class FetchPayload(Struct, frozen=True):
    """Pull the payload of `header` from one of `holders` after the other, check it, make it durable."""

    header: UpdateHeader
    holders: tuple[bytes, ...]


class FetchBody(Struct, frozen=True):
    """Pull the body of `header` from one of `holders` after the other, make it durable."""

    header: Header
    holders: tuple[bytes, ...]


class BuildProposal(Struct, frozen=True):
    """Run `chain.propose.build` with the payloads held; store the block as pending."""

    round: int
    state: ChainState
    inputs: ProposalInputs


class CheckProposal(Struct, frozen=True):
    """Run `chain.check.check` on `state` with the payloads held; store a valid block as pending.

    `checked` is what is known of the body already.
    """

    state: ChainState
    header: Header
    body: Body
    checked: CheckedBody


class FetchBlocks(Struct, frozen=True):
    """Ask `peer` for final blocks from `from_height`."""

    peer: bytes
    from_height: int


class FetchModel(Struct, frozen=True):
    """Pull weights and exponents under the roots of `header` from one of `holders` after the other."""

    header: Header
    holders: tuple[bytes, ...]


class AskSnapshot(Struct, frozen=True):
    """Ask `peer` for the manifest of its snapshot of `height`, 0: of its newest one."""

    peer: bytes
    height: int


class AskLightBlock(Struct, frozen=True):
    """Ask `peer` for the light block of `height`."""

    peer: bytes
    height: int


class FetchSnapshot(Struct, frozen=True):
    """Pull every part of `snapshot` from `holders` and whoever is connected, each chunk checked alone."""

    snapshot: Snapshot
    holders: tuple[bytes, ...]


class StoreSnapshot(Struct, frozen=True):
    """Begin the empty store with `block` and `state` (its model is durable); durable before what follows."""

    block: Block
    state: ChainState


class StoreBlock(Struct, frozen=True):
    """Write the block, its certificate and the state after it; durable before the next effect starts.

    A `state.model` of None (catching up) leaves the model of this height out. Every polka of the height
    is kept too: the chain of them convicts whoever forks.
    """

    block: Block
    state: ChainState
    polkas: tuple[PolkaCert, ...]


class StorePolkas(Struct, frozen=True):
    """Keep these polkas of a height that is not decided yet; durable before the next effect starts."""

    polkas: tuple[PolkaCert, ...]


class RememberPeers(Struct, frozen=True):
    """Keep these records for the next start; not urgent."""

    records: tuple[PeerRecord, ...]


class Dial(Struct, frozen=True):
    """Open a pipe to one of the addresses of a peer."""

    addresses: tuple[Multiaddr, ...]


class Disconnect(Struct, frozen=True):
    peer: bytes
    reason: str


class Blame(Struct, frozen=True):
    """`peer` sent something that no honest peer sends."""

    peer: bytes
    fault: PeerFault


class Observe(Struct, frozen=True):
    """A typed fact for logs, pages and recordings; it changes nothing."""

    fact: Fact


class Halt(Struct, frozen=True):
    """Stop this peer: going on would be unsafe or is not wanted. `exit_code` as in docs."""

    reason: str
    exit_code: int


Effect = (
    Persist
    | Append
    | SyncLog
    | Send
    | ScheduleTimeout
    | Train
    | FetchPayload
    | FetchBody
    | BuildProposal
    | CheckProposal
    | FetchBlocks
    | FetchModel
    | AskSnapshot
    | AskLightBlock
    | FetchSnapshot
    | StoreSnapshot
    | StoreBlock
    | StorePolkas
    | RememberPeers
    | Dial
    | Disconnect
    | Blame
    | Observe
    | Halt
)
