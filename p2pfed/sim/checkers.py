"""What must hold in every run, whatever the network does: checked from outside the nodes, as it happens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2pfed.chain.state import ChainState
from p2pfed.consensus.signer import SignRecord
from p2pfed.errors import PeerFault, WrongHeight
from p2pfed.node.evidence_pool import EVIDENCE_POOL_MAX
from p2pfed.node.height_messages import EARLY_MESSAGES_MAX
from p2pfed.node.values import VALUES_MAX
from p2pfed.node.view import kept
from p2pfed.primitives.digest import sha256
from p2pfed.sim.disk import Disk
from p2pfed.types.availability import AvailMessage
from p2pfed.types.block import Block
from p2pfed.types.params import ROUNDS_AHEAD_MAX, TRANSACTION_POOL_MAX
from p2pfed.types.pledge import Pledge
from p2pfed.types.update import UpdateHeader
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import ControlMessage, ProposalMessage

if TYPE_CHECKING:
    from p2pfed.sim.peer import SimPeer

Place = tuple[str, int, int]  # Kind, height, round: where a peer may speak once.
Final = tuple[bytes, bytes, bytes]  # Roots of a final block: value id, state root, model root.


class Checkers:
    """The laws of a run. What breaks one is a sentence in `violations`; the run ends there."""

    def __init__(
        self, honest: dict[bytes, int], *, struck: frozenset[bytes] = frozenset(), is_safe: bool = True
    ) -> None:
        self.violations: list[str] = []
        self.final: dict[int, Final] = {}
        self.forks: set[int] = set()  # Heights of which two blocks are final, where that is allowed.
        self._honest = honest  # Public key -> number, observers included.
        self._struck = struck  # Honest, but its disk was made to forget: it may contradict itself.
        self._is_safe = is_safe
        self._records: dict[bytes, tuple[int, int, int]] = {}
        self._durable: dict[bytes, list[SignRecord]] = {}  # Those of the height, for what is said late.
        self._total: dict[bytes, int] = {}  # All that is owned, at stake or burned: it never changes.
        self._said: dict[tuple[bytes, Place], bytes] = {}
        self._locks: dict[bytes, tuple[int, int]] = {}  # Height and locked round.

    def persisted(self, peer: bytes, record: SignRecord) -> None:
        """The signer never goes back, also across restarts. `record` is what the disk holds now."""
        kept = [one for one in self._durable.get(peer, ()) if one.height >= record.height]
        self._durable[peer] = [*kept, record]
        if peer in self._struck:
            return
        place = (record.height, record.round, record.step)
        before = self._records.get(peer, (0, -1, 0))
        if place < before:
            self._fail(peer, f"its signer's record went back from {before} to {place}")
        self._records[peer] = place

    def speaks(self, peer: bytes, message: ControlMessage, state: ChainState, disk: Disk) -> None:
        """A peer says one thing at each place in all its lives, and what it says is on its disk before."""
        own = _own_words(peer, message, state)
        if own is None or peer in self._struck:
            return
        place, words = own
        said = self._said.get((peer, place))
        if said is None:
            self._said[peer, place] = words
            # Who was alone when it voted says so once somebody listens, and may be in a later round by then.
            if not _is_durable(message, disk.load_record()) and not any(
                _is_durable(message, record) for record in self._durable.get(peer, ())
            ):
                self._fail(peer, f"it spoke at {place} before that was durable")
        elif said != words:
            self._fail(peer, f"it signed twice at {place}")

    def stored(self, peer: bytes, block: Block, state: ChainState) -> None:
        """All honest disks hold one chain, and no honest peer is convicted on it."""
        header = block.header
        final = (header.value_id, header.state_root, header.model_root)
        agreed = self.final.setdefault(header.height, final)
        if agreed != final:
            self.forks.add(header.height)
            if self._is_safe:
                self._fail(peer, f"a fork at height {header.height}: {final[0].hex()} and {agreed[0].hex()}")
            return
        if state.model is not None and state.model.root != header.model_root:
            self._fail(peer, f"the model at height {header.height} is not the one that was agreed")
        before = self.final.get(header.height - 1)
        if before is not None and before[0] != header.prev_header_hash:
            self._fail(peer, f"block {header.height} does not follow block {header.height - 1}")
        if self._total.setdefault(state.chain_id, state.ledger.total) != state.ledger.total:
            self._fail(peer, f"stake appeared or vanished at height {header.height}")
        for conviction in state.ledger.slashing.convictions:
            if self._is_blameless(conviction.key):
                self._fail(conviction.key, f"it is honest and was convicted of E{conviction.offence}")

    def blamed(self, peer: bytes, culprit: bytes, fault: PeerFault) -> None:
        """No honest peer finds fault with another, but for a message of the wrong height."""
        if self._is_blameless(culprit) and not isinstance(fault, WrongHeight):
            self._fail(peer, f"it blames honest peer {self._honest[culprit]}: {fault}")

    def accused(self, peer: bytes, culprit: bytes, kind: str) -> None:
        """No evidence names an honest peer."""
        if self._is_blameless(culprit):
            self._fail(peer, f"it accuses honest peer {self._honest[culprit]} of {kind}")

    def halted(self, peer: bytes, reason: str) -> None:
        """Nobody honest stops, unless so many lie that it must."""
        if self._is_safe:
            self._fail(peer, f"it halted: {reason}")

    def died(self, peer: bytes, record: SignRecord) -> None:
        """What was not durable was never said: the lock on disk is the one that counts."""
        self._locks[peer] = (record.height, record.lock_round)

    def after(self, peer: SimPeer) -> None:
        """After every event: the lock never goes down within a height, and what is kept has its bounds."""
        work, public = peer.node.work, peer.public
        if work is None or not peer.is_up:
            return
        place = (work.height, work.engine.locked_round)
        before = self._locks.get(public)
        if place == before:
            return  # Votes pile up by rounds and heights; a bound that is broken shows at the next lock too.
        if before is not None and public not in self._struck:
            if place[0] == before[0] and place[1] < before[1]:
                self._fail(public, f"its lock of height {place[0]} went from round {before[1]} to {place[1]}")
            if place[0] < before[0]:
                self._fail(public, f"it went back from height {before[0]} to {place[0]}")
        self._locks[public] = place

    def bounds(self, peer: SimPeer) -> None:
        """What a peer keeps of others has its limits."""
        early, proofs, transactions = kept(peer.node)
        work = peer.node.work
        counts = [
            ("early messages", early, EARLY_MESSAGES_MAX),
            ("pieces of evidence", proofs, EVIDENCE_POOL_MAX),
            ("transactions", transactions, TRANSACTION_POOL_MAX),
        ]
        if work is not None:
            validators, trainers = len(work.state.validators), len(work.state.trainers)
            lag = work.state.genesis.params.update_lag
            rounds = max(work.engine.round, 0) + 1 + ROUNDS_AHEAD_MAX
            listed = sum(len(message.update_ids) for message in work.pool.avails.values())
            counts += [
                ("votes", work.engine.votes_held, 4 * validators * rounds),
                ("values", len(work.values), VALUES_MAX),
                ("availability votes", len(work.pool.avails), validators),
                ("update headers", len(work.pool.known), 2 * trainers + listed),
                ("pledges", len(work.pool.pledges.first) if work.pool.pledges else 0, lag * trainers),
            ]
        for what, count, most in counts:
            if count > most:
                self._fail(peer.public, f"it keeps {count} {what}, more than {most}")

    def broke(self, peer: bytes, text: str) -> None:
        self._fail(peer, text)

    def _is_blameless(self, key: bytes) -> bool:
        return key in self._honest and key not in self._struck

    def _fail(self, peer: bytes, text: str) -> None:
        self.violations.append(f"peer {self._honest[peer]}: {text}")


def _own_words(peer: bytes, message: ControlMessage, state: ChainState) -> tuple[Place, bytes] | None:
    """Return where `peer` speaks for itself by `message` and what it says; None where others wrote it."""
    match message:
        case UpdateHeader():
            is_own = message.trainer == peer
            return (("update", message.base_height, 0), sha256(message.body())) if is_own else None
        case Pledge():
            is_own = message.trainer == peer
            return (("pledge", message.base_height, 0), message.update_id) if is_own else None
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


def _is_durable(message: ControlMessage, record: SignRecord) -> bool:
    if isinstance(message, Pledge):
        return record.trainer is not None and record.trainer.update_id == message.update_id
    return message in _remembered(record)


def _remembered(record: SignRecord) -> tuple[ControlMessage | None, ...]:
    return (record.proposal, record.prevote, record.precommit, record.avail, record.trainer)
