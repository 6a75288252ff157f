"""What must hold in every run, whatever the network does: checked from outside the nodes, as it happens."""

from __future__ import annotations

from p2pfed.chain.state import ChainState
from p2pfed.consensus.signer import SignRecord
from p2pfed.errors import PeerFault, WrongHeight
from p2pfed.primitives.digest import sha256
from p2pfed.sim.disk import Disk
from p2pfed.types.availability import AvailMessage
from p2pfed.types.block import Block
from p2pfed.types.update import UpdateHeader
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import ControlMessage, ProposalMessage

Place = tuple[str, int, int]  # Kind, height, round: where a peer may speak once.
Final = tuple[bytes, bytes, bytes]  # Roots of a final block: value id, state root, model root.


class Checkers:
    """The laws of a run. What breaks one is a sentence in `violations`; the run ends there."""

    def __init__(self, honest: dict[bytes, int]) -> None:
        self.violations: list[str] = []
        self.final: dict[int, Final] = {}
        self._honest = honest  # Public key -> number, observers included.
        self._records: dict[bytes, tuple[int, int, int]] = {}
        self._total: dict[bytes, int] = {}  # All that is owned, at stake or burned: it never changes.
        self._said: dict[tuple[bytes, Place], bytes] = {}

    def persisted(self, peer: bytes, record: SignRecord) -> None:
        """The signer never goes back, also across restarts."""
        place = (record.height, record.round, record.step)
        before = self._records.get(peer, (0, -1, 0))
        if place < before:
            self._fail(peer, f"its signer's record went back from {before} to {place}")
        self._records[peer] = place

    def speaks(self, peer: bytes, message: ControlMessage, state: ChainState, disk: Disk) -> None:
        """A peer says one thing at each place in all its lives, and what it says is on its disk before."""
        own = _own_words(peer, message, state)
        if own is None:
            return
        place, words = own
        said = self._said.get((peer, place))
        if said is None:
            self._said[peer, place] = words
            if message not in _remembered(disk.load_record()):
                self._fail(peer, f"it spoke at {place} before that was durable")
        elif said != words:
            self._fail(peer, f"it signed twice at {place}")

    def stored(self, peer: bytes, block: Block, state: ChainState) -> None:
        """All honest disks hold one chain, and no honest peer is convicted on it."""
        header = block.header
        final = (header.value_id, header.state_root, header.model_root)
        agreed = self.final.setdefault(header.height, final)
        if agreed != final:
            self._fail(peer, f"a fork at height {header.height}: {final[0].hex()} and {agreed[0].hex()}")
        if state.model is not None and state.model.root != header.model_root:
            self._fail(peer, f"the model at height {header.height} is not the one that was agreed")
        before = self.final.get(header.height - 1)
        if before is not None and before[0] != header.prev_header_hash:
            self._fail(peer, f"block {header.height} does not follow block {header.height - 1}")
        if self._total.setdefault(state.chain_id, state.ledger.total) != state.ledger.total:
            self._fail(peer, f"stake appeared or vanished at height {header.height}")
        for conviction in state.ledger.slashing.convictions:
            if conviction.key in self._honest:
                self._fail(conviction.key, f"it is honest and was convicted of E{conviction.offence}")

    def blamed(self, peer: bytes, culprit: bytes, fault: PeerFault) -> None:
        """No honest peer finds fault with another, but for a message of the wrong height."""
        if culprit in self._honest and not isinstance(fault, WrongHeight):
            self._fail(peer, f"it blames honest peer {self._honest[culprit]}: {fault}")

    def halted(self, peer: bytes, reason: str) -> None:
        self._fail(peer, f"it halted: {reason}")

    def broke(self, peer: bytes, text: str) -> None:
        self._fail(peer, text)

    def stalled(self, text: str) -> None:
        self.violations.append(text)

    def _fail(self, peer: bytes, text: str) -> None:
        self.violations.append(f"peer {self._honest[peer]}: {text}")


def _own_words(peer: bytes, message: ControlMessage, state: ChainState) -> tuple[Place, bytes] | None:
    """Return where `peer` speaks for itself by `message` and what it says; None where others wrote it."""
    match message:
        case UpdateHeader():
            is_own = message.trainer == peer
            return (("update", message.base_height, 0), sha256(message.body())) if is_own else None
        case AvailMessage():
            index, height = message.avail.validator_index, message.avail.height
            place, words = ("avail", height, message.avail.attempt), message.avail.body()
        case ProposalMessage():
            index, height = message.proposal.validator_index, message.proposal.height
            place, words = ("proposal", height, message.proposal.round), message.proposal.body()
        case Prevote() | Precommit():
            index, height = message.validator_index, message.height
            place, words = (message.KIND, height, message.round), message.body()
        case _:
            return None
    validators = state.validators_at(height) if height <= state.height + 2 else None
    is_own = validators is not None and validators.index_of(peer) == index
    return (place, sha256(words)) if is_own else None


def _remembered(record: SignRecord) -> tuple[ControlMessage | None, ...]:
    return (record.proposal, record.prevote, record.precommit, record.avail, record.trainer)
