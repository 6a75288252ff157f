"""Catching up: final blocks from a peer that is ahead, verified one by one, then the model at the end."""

from __future__ import annotations

from p2pfed.chain.apply import apply_certified, with_model
from p2pfed.chain.derive import dropped_trainer
from p2pfed.chain.evidence import conviction_of
from p2pfed.chain.light import checkpoint_conflict
from p2pfed.chain.state import ChainState
from p2pfed.chain.update_set import update_set
from p2pfed.consensus.certificates import joined, verify_commit
from p2pfed.consensus.evidence import duplicate_avail
from p2pfed.consensus.vote_keeper import VoteKeeper
from p2pfed.errors import InvalidBlock, PeerFault
from p2pfed.ledger.module import Offence
from p2pfed.node.checks import OWN_CHECKS, Checks
from p2pfed.node.effects import Effect, FetchBlocks, FetchModel, Halt, Observe, StoreBlock
from p2pfed.node.events import BlocksFetched
from p2pfed.node.evidence_pool import EvidencePool
from p2pfed.node.facts import BlockCommitted, BlocksGone, CatchingUp, Fact, StakeSlashed
from p2pfed.node.gate_facts import gate_facts
from p2pfed.node.height_messages import HeightMessage
from p2pfed.node.neighbours import Neighbours
from p2pfed.node.stake_facts import stake_facts
from p2pfed.types.availability import Avail, AvailMessage, signed_avail
from p2pfed.types.bitmap import indices_of
from p2pfed.types.block import Block, Body, Header
from p2pfed.types.certificate import CommitCert
from p2pfed.types.model import ModelState
from p2pfed.types.vote import Precommit

# Peers keep the models of the last 8 heights. One that has not come by half of that is given up for a newer
# one; sooner would start it anew with every block, later would ask for what everybody has deleted.
MODEL_AGE_MAX = 4
CUT_OFF_REMEDY = (
    "move data/ away and start with --sync state, or connect a peer that has every block from there on"
)


class CatchUp:
    """Which peers are ahead, and the fetch that is under way.

    Blocks are stored as they are verified; the model is fetched once, at the newest one: its root stands
    under a certificate of more than two thirds, as every root before it does.
    """

    def __init__(
        self,
        neighbours: Neighbours,
        evidence: EvidencePool,
        outbox: list[Effect],
        checkpoint: tuple[int, bytes] | None = None,
        checks: Checks = OWN_CHECKS,
    ) -> None:
        self._checks = checks
        self._neighbours = neighbours
        self._evidence = evidence
        self._outbox = outbox
        self._heights: dict[bytes, int] = {}  # The height that a peer works on, by its own word.
        self._source: bytes | None = None  # Whom FetchBlocks is out to.
        self._without: dict[bytes, int] = {}  # Who said that it lacks the block of this height.
        self._gone_at = 0  # The height of which that was last told.
        self._awaits_model_at: int | None = None
        self._checkpoint = checkpoint
        self.is_paused = False  # While a state is fetched, blocks have nothing to follow.

    def note(self, peer: bytes, height: int) -> None:
        """Note that `peer` works on `height`: it claims to have the block before."""
        self._heights[peer] = max(height, self._heights.get(peer, 0))

    def forget(self, peer: bytes) -> None:
        """Drop a peer that left; a fetch from it is given up."""
        self._heights.pop(peer, None)
        self._without.pop(peer, None)
        if self._source == peer:
            self._source = None

    def is_behind(self, state: ChainState) -> bool:
        """Answer whether a connected peer claims a block that we lack, or our newest block has no model."""
        return state.model is None or any(height > state.next_height for height in self._heights.values())

    def is_far_behind(self, state: ChainState) -> bool:
        """Answer whether a connected peer claims more than the one block that we are just voting on."""
        return any(height > state.next_height + 1 for height in self._heights.values())

    def proceed(self, state: ChainState) -> None:
        """Ask for the next thing that is missing, unless a question is out."""
        if self._source is not None or self.is_paused:
            return
        awaits_model = self._awaits_model_at == state.height
        needed = state.next_height + (MODEL_AGE_MAX if awaits_model else 0)
        ahead = [(height, peer) for peer, height in self._heights.items() if height > needed]
        if ahead:
            height, self._source = max(ahead)
            self._outbox.append(Observe(CatchingUp(state.height, height - 1, self._source)))
            self._outbox.append(FetchBlocks(self._source, state.next_height))
        elif state.model is None and not awaits_model:
            assert state.header is not None
            holders = tuple(sorted(p for p, height in self._heights.items() if height >= state.next_height))
            if state.header.is_empty:  # The gate went back: everybody had this model, ourselves most likely.
                holders = self._neighbours.table.connected_members() or holders
            if holders:
                self._awaits_model_at = state.height
                self._outbox.append(FetchModel(state.header, holders))

    def take_blocks(
        self,
        state: ChainState,
        last_commit: CommitCert | None,
        event: BlocksFetched,
        now_ms: int,
    ) -> tuple[ChainState, CommitCert | None]:
        """Verify and store blocks after `state`; return the newest state and its certificate, if any.

        `last_commit` is that of `state`: a block that follows another one of its height proves a fork.
        """
        peer, blocks = event.peer, event.blocks
        if peer != self._source:
            return state, None
        self._source = None
        newest: CommitCert | None = None
        for block in blocks:
            if block.header.height != state.next_height:
                continue
            try:
                after = apply_certified(state, block)
            except InvalidBlock as refusal:  # Its certificate is good: more than two thirds signed it.
                height = block.header.height
                self._publish_rival(state, newest or last_commit, block.body.last_commit)
                self._outbox.append(
                    Halt(f"local check disagrees with more than 2/3 at {height}: {refusal}", 7)
                )
                return state, newest
            except PeerFault as fault:
                self._drop(peer, fault, now_ms)
                return state, newest
            if self.contradicts_checkpoint(block.header):
                return state, newest
            self._outbox.append(StoreBlock(block, after, ()))
            self._outbox.append(Observe(committed(block, state, took_ms=0, caught_up=True)))
            self._outbox.extend(map(Observe, ledger_facts(block, state, after)))
            state, newest = after, block.commit
        if newest is None:
            self._heights.pop(peer, None)  # It had nothing for us after all; its next digest counts again.
            if event.is_missing:
                self._without[peer] = state.next_height
                self._tell_if_gone(state)
        return state, newest

    def is_cut_off(self, state: ChainState) -> bool:
        """Answer whether every connected member is ahead and lacks the next block: one liar can't say so."""
        members = self._neighbours.table.connected_members()
        return bool(members) and all(self._without.get(member) == state.next_height for member in members)

    def _tell_if_gone(self, state: ChainState) -> None:
        if self._gone_at != state.next_height and self.is_cut_off(state):
            self._gone_at = state.next_height
            self._outbox.append(Observe(BlocksGone(state.next_height, CUT_OFF_REMEDY)))

    def contradicts_checkpoint(self, header: Header) -> bool:
        """Halt, and say so, where a final block is another one than the person named for its height."""
        if self._checkpoint is None or self._checkpoint[0] != header.height:
            return False
        conflict = checkpoint_conflict(self._checkpoint, header.value_id)
        if conflict is None:
            return False
        self._outbox.append(Halt(str(conflict), conflict.exit_code))
        return True

    def take_model(self, state: ChainState, height: int, model: ModelState | None) -> ChainState:
        """Return `state` with its model where that is what came; else the state as it is."""
        if self._awaits_model_at != height:
            return state
        self._awaits_model_at = None
        if model is None or state.height != height or state.model is not None:
            return state  # Blocks went on meanwhile; the next question is about the newest.
        return with_model(state, model)

    def take_late_commit(self, state: ChainState, ours: CommitCert | None, cert: CommitCert) -> None:
        """Halt where a peer shows another certificate of the last height: two blocks of one height are final.

        Raises:
            PeerFault: It is not a certificate.
        """
        if ours is None or cert.height != ours.height or cert.value_id == ours.value_id:
            return
        verify_commit(cert, state.last_validators, state.chain_id)
        self._publish_fork(state, ours, cert)
        first, second = ours.value_id.hex()[:12], cert.value_id.hex()[:12]
        self._outbox.append(Halt(f"two blocks are decided at height {cert.height}: {first} and {second}", 7))

    def take_late(
        self, state: ChainState, ours: CommitCert | None, body: Body | None, message: HeightMessage
    ) -> CommitCert | None:
        """Take in a message of a height that is decided; return the certificate of the last block.

        A precommit that came after the decision joins it: a sign of life of who is far away, since a quorum
        is always faster. Another certificate of that height is a fork. An availability vote is held against
        the one of its sender in `body`, that of the last block (None: it came by catching up).

        Raises:
            PeerFault: Nobody honest sends it.
        """
        if isinstance(message, CommitCert):
            self.take_late_commit(state, ours, message)
        if isinstance(message, AvailMessage) and body is not None:
            self._take_late_avail(state, body, message.avail)
        if ours is None or not isinstance(message, Precommit) or message.height != state.height:
            return ours
        return joined(ours, message, state.last_validators, state.chain_id, self._checks.is_signed_by) or ours

    def _take_late_avail(self, state: ChainState, body: Body, avail: Avail) -> None:
        """E7: two availability votes of one validator, the one in the block and one that came after it."""
        entry = next((e for e in body.avails if e.validator_index == avail.validator_index), None)
        if entry is None or avail.height != state.height or entry.signature == avail.signature:
            return
        known = signed_avail(state.height, body.candidates, entry)
        if known.attempt != avail.attempt or known.body() == avail.body():
            return
        lie = duplicate_avail(known, avail)
        if self._evidence.add(state, lie):  # It checks the signatures.
            self._neighbours.push(lie)

    def _publish_fork(self, state: ChainState, ours: CommitCert, theirs: CommitCert) -> None:
        """Publish who signed two certificates of the last height; both are verified.

        Of different rounds they contradict nothing by themselves: an audit of both stores has the polkas.
        """
        votes = VoteKeeper(state.last_validators)
        for lie in (*votes.add_commit(ours), *votes.add_commit(theirs)):
            if self._evidence.add(state, lie):
                self._neighbours.push(lie)

    def _publish_rival(self, state: ChainState, ours: CommitCert | None, theirs: CommitCert | None) -> None:
        if ours is None or theirs is None or (theirs.height, theirs.value_id) == (ours.height, ours.value_id):
            return
        try:
            verify_commit(theirs, state.last_validators, state.chain_id)
        except PeerFault:
            return  # It is the block that is wrong, not a fork.
        self._publish_fork(state, ours, theirs)

    def _drop(self, peer: bytes, fault: PeerFault, now_ms: int) -> None:
        self._heights.pop(peer, None)
        self._neighbours.blame(peer, fault, now_ms)


def ledger_facts(block: Block, before: ChainState, after: ChainState) -> tuple[Fact, ...]:
    """Return whom `block` punished, what it changed in the set, and what it says of the last model."""
    return (*convictions(block, before), *stake_facts(block, after), *gate_facts(block, before, after))


def convictions(block: Block, before: ChainState) -> tuple[StakeSlashed, ...]:
    """Return a fact for each proof of a lie that `block`, the one after `before`, carries or is (B5)."""
    height, slashing, offence = block.header.height, before.ledger.slashing, Offence.DUPLICATE_UPDATE
    found = [conviction_of(before, evidence) for evidence in block.body.evidence]
    known = frozenset(convict.culprit for convict in found if convict.offence is offence)
    found += [
        dropped_trainer(before, trainer)
        for trainer, _ in update_set(block.body.updates, block.header.round0).dropped
        if trainer not in known and not slashing.has_convicted(trainer, offence)
    ]
    return tuple(StakeSlashed(height, convict.culprit, convict.offence.name) for convict in found)


def committed(block: Block, before: ChainState, *, took_ms: int, caught_up: bool) -> BlockCommitted:
    """Return the fact that `block`, the one after `before`, is final."""
    header, validators = block.header, before.validators
    signers = indices_of(block.commit.bitmap, len(validators))
    merged = () if header.is_empty else update_set(block.body.updates, header.round0).updates
    trainers = tuple(update.trainer for update in merged)
    return BlockCommitted(
        height=header.height,
        round=block.commit.round,
        value_id=block.commit.value_id,
        model_root=header.model_root,
        rule=header.rule,
        updates=len(trainers),
        expected=len(before.trainers),
        signed_power=validators.power_of(signers),
        total_power=validators.total_power,
        took_ms=took_ms,
        trainers=trainers,
        is_empty=header.is_empty,
        caught_up=caught_up,
    )
