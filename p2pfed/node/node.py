"""One peer, silent: told events, it answers with effects. Simulator and product run this very code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import assert_never

from p2pfed.chain.gate import judged_model
from p2pfed.chain.state import ChainState
from p2pfed.consensus.journal import Ended, Entry
from p2pfed.consensus.signer import SignRecord
from p2pfed.consensus.timeouts import PRESETS
from p2pfed.errors import PeerFault
from p2pfed.node import events
from p2pfed.node.catch_up import CatchUp, committed, ledger_facts
from p2pfed.node.checks import OWN_CHECKS, Checks
from p2pfed.node.doppelganger import Doppelganger
from p2pfed.node.effects import (
    Append,
    Effect,
    Observe,
    ScheduleTimeout,
    StoreBlock,
    StorePolkas,
    StoreSnapshot,
)
from p2pfed.node.events import Event, Timer
from p2pfed.node.evidence_pool import EvidencePool
from p2pfed.node.facts import UNSERVED, NetworkFinished, StateSynced, UpdateRefused
from p2pfed.node.height import HeightWork
from p2pfed.node.height_messages import HEIGHT_MESSAGES, EarlyMessages, HeightMessage, deliver, height_of
from p2pfed.node.neighbours import Neighbours
from p2pfed.node.repair import GOSSIP_MS, Repair
from p2pfed.node.shared import Shared
from p2pfed.node.signing import SigningHand
from p2pfed.node.state_sync import StateSync, SyncPlan
from p2pfed.node.training import OwnUpdates
from p2pfed.node.update_pool import UpdatePool
from p2pfed.primitives.keys import PrivateKey
from p2pfed.types.address import Multiaddr
from p2pfed.types.block import Block, Body
from p2pfed.types.certificate import CommitCert
from p2pfed.types.evidence import Evidence
from p2pfed.types.peer import PeerRecord
from p2pfed.types.pledge import Pledge
from p2pfed.types.quality import Quality
from p2pfed.types.transaction import Transaction
from p2pfed.types.update import UpdateHeader
from p2pfed.types.wire import LISTENS, ControlMessage, Digest, PeerRecords

BEHIND_MS = 500  # One block behind for so long: fetch it. Normally our own vote is just about to finish.


class Node:
    """One peer. `step` is the only way in; effects are carried out in order.

    Args:
        key: The peer's key: its name, account and signature.
        state: The state after its newest block. Without a model the peer catches up before it works.
        last_commit: The certificate of that block, None at genesis.
        record: The signer's record from disk.
        history: What the log holds of the height after `state` (`consensus.replay.history_of`).
        records: Peer records remembered from the last run.
        contacts: First contacts by hand (--join, seeds).
        is_learning: Whether this peer has a learner.
        is_exchanging: Whether it tells and learns where peers listen; else it dials its contacts alone.
        sync_plan: How to join by state; `state` is that of genesis then, without its model.
        checkpoint: Height and hash of a block that a person knows to be final.
        checks: How signatures and bodies are checked.
    """

    def __init__(
        self,
        *,
        key: PrivateKey,
        state: ChainState,
        last_commit: CommitCert | None,
        record: SignRecord,
        history: Sequence[Entry] = (),
        records: Iterable[PeerRecord] = (),
        contacts: Iterable[Multiaddr] = (),
        is_learning: bool = True,
        is_exchanging: bool = True,
        sync_plan: SyncPlan | None = None,
        checkpoint: tuple[int, bytes] | None = None,
        checks: Checks = OWN_CHECKS,
    ) -> None:
        genesis = state.genesis
        self.state = state
        self.last_commit = last_commit
        self._last_body: Body | None = None  # Of the last block, where it was voted on here.
        self.work: HeightWork | None = None
        self._height_final = genesis.params.height_final
        self._outbox: list[Effect] = []
        members = tuple(participant.key for participant in genesis.participants)
        self.neighbours = Neighbours(
            key, genesis.chain_id, members, state.validators, self._outbox, is_exchanging=is_exchanging
        )
        self.hand = SigningHand(key, genesis.chain_id, record, self._outbox)
        preset, evidence = PRESETS[genesis.params.preset], EvidencePool(self._outbox)
        self._shared = Shared(preset, self.hand, self.neighbours, self._outbox, evidence, checks)
        self.transactions = self._shared.transactions  # To look at.
        self._catch_up = CatchUp(self.neighbours, evidence, self._outbox, checkpoint, checks)
        self.sync: StateSync | None = None
        if sync_plan is not None:
            assert state.header is None
            self._catch_up.is_paused = True
            self.sync = StateSync(sync_plan, genesis, self.neighbours, self._outbox)
        self._own = OwnUpdates(self.hand, self.neighbours, self._outbox, is_learning=is_learning)
        self._early = EarlyMessages()
        self._last_pool: UpdatePool | None = None  # Of the last height; nothing of it where tau is 1.
        self.twin = Doppelganger(self.hand, state, preset, self._outbox)
        self._repair = Repair(self.neighbours, self.twin, preset.flight_ms)
        self._is_sync_due = False
        self._finished_peers: set[bytes] = set()  # Members that have the last block, by their own word.
        self._remembered = (tuple(records), tuple(contacts))
        self._history = (state.next_height, tuple(history))

    @property
    def is_finished(self) -> bool:
        """Answer whether the last height that genesis names is final."""
        return 0 < self._height_final <= self.state.height

    @property
    def is_everyone_finished(self) -> bool:
        """Answer whether every other member that votes or is connected has the last block too."""
        return self.is_finished and self.neighbours.awaited() <= self._finished_peers

    @property
    def is_cut_off(self) -> bool:
        """Answer whether no connected member has the next block any more, though all are ahead."""
        return not self.is_finished and self._catch_up.is_cut_off(self.state)

    def step(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        """Return what to do about `event`, in order.

        Args:
            event: What happened.
            now_ms: This peer's time, ms since 1970; never decreasing.
        """
        assert not self._outbox
        self._dispatch(event, now_ms)
        self._advance(now_ms)
        if not self._outbox:
            return ()
        effects = tuple(self._outbox)
        self._outbox.clear()
        return effects

    def _dispatch(self, event: Event, now_ms: int) -> None:
        match event:
            case events.MessageReceived():  # By far the most frequent: each miss costs.
                if self.neighbours.admit(event.peer, event.message, event.message_bytes, now_ms):
                    self._take_message(event.peer, event.message, event.message_id, now_ms)
            case events.Started():
                self.neighbours.recall(*self._remembered, now_ms)
                self.neighbours.dial(now_ms)
                self._schedule_gossip()
                self._start_height(now_ms)
            case events.PeerConnected():
                if self.neighbours.connect(event.peer, event.address, now_ms):
                    self._shared.silent.pop(event.peer, None)
                    words = self._own.words(self.state, self.work)
                    self._repair.greet(event.peer, self.state, self.work, words, now_ms)
                    for missed in (*self._shared.evidence.select(), *self.transactions.waiting()):
                        self.neighbours.tell(event.peer, missed)
                    if self.sync is not None:
                        self.sync.connect(event.peer, now_ms)
                    self.twin.listen(self.neighbours, now_ms)
                    self._refresh(now_ms)
            case events.PeerDisconnected():
                self.neighbours.disconnect(event.peer, now_ms)
                self.twin.listen(self.neighbours, now_ms)
                self._catch_up.forget(event.peer)
                self._repair.forget(event.peer)
                self._shared.listening.discard(event.peer)
                if self.work is not None and self.neighbours.table.is_member(event.peer):
                    self.work.waits.lose(event.peer)
                if self.sync is not None:
                    self.sync.forget(event.peer, now_ms)
                self._refresh(now_ms)
            case events.DialFailed():
                self.neighbours.table.dial_failed(event.addresses, now_ms)
            case events.AddressesChanged():
                self.neighbours.announce(event.addresses, now_ms)
            case events.TransactionSubmitted():
                if self._take_in(event.transaction):
                    self.neighbours.push(event.transaction)
            case events.Evaluated():
                self._speak_of_quality(event)
            case events.PeerMisbehaved():
                self.neighbours.blame(event.peer, event.fault, now_ms)
            case events.TimerFired():
                self._take_timer(event.timer, now_ms)
            case events.Trained():
                self._own.take_trained(event, self.state, self.work, now_ms)
            case events.TrainingFailed():
                self._own.take_failed(event, self.state, self.work)
            case events.BlocksFetched():
                self._take_blocks(event, now_ms)
            case events.ModelFetched():
                self.state = self._catch_up.take_model(self.state, event.height, event.model)
                self._catch_up.proceed(self.state)
                self._start_height(now_ms)
                self._ask_for_height(now_ms)
            case events.SnapshotOffered() | events.LightBlockFetched() | events.SnapshotFetched():
                if self.sync is not None and (whole := self.sync.take(event, now_ms)):
                    self._begin_at(whole, now_ms)
            case (
                events.PayloadFetched()
                | events.BodyFetched()
                | events.ProposalBuilt()
                | events.ProposalChecked()
            ):
                self._take_answer(event, now_ms)
            case _:
                assert_never(event)

    # Messages

    def _take_message(self, peer: bytes, message: ControlMessage, message_id: bytes, now_ms: int) -> None:
        """Handle a message; whoever sends what no honest peer sends is blamed for it."""
        try:
            if isinstance(message, HEIGHT_MESSAGES):
                self._take_height_message(peer, message, message_id, now_ms)
            elif isinstance(message, Digest):
                self._take_digest(peer, message, now_ms)
            elif isinstance(message, PeerRecords):
                self.neighbours.learn(peer, message, now_ms)
            elif self.sync is None and self._take_in(message):  # Who has no state can't tell if it is good.
                self.neighbours.forward(peer, message, message_id)
        except PeerFault as fault:
            self.neighbours.blame(peer, fault, now_ms)

    def _speak_of_quality(self, event: events.Evaluated) -> None:
        """Say what the newest model is worth to us, where the network asks its validators."""
        state, own = self.state, self._shared.hand.public
        if event.height != state.height or not judged_model(state):
            return
        if state.last_validators.index_of(own) is not None:
            word = self._shared.hand.sign_quality(event.height, event.score, event.classes)
            if self._take_in(word):
                self.neighbours.push(word)

    def _take_in(self, message: Evidence | Transaction | Quality) -> bool:
        """Keep what a block may carry; answer whether it is new and good."""
        if isinstance(message, Quality):
            return self._shared.qualities.add(message, self.state)
        if isinstance(message, Evidence):
            return self._shared.evidence.add(self.state, message)
        return self.transactions.add(message, self.state)

    def _take_height_message(
        self, peer: bytes, message: HeightMessage, message_id: bytes, now_ms: int
    ) -> None:
        height, current = height_of(message), self.state.next_height
        if isinstance(message, UpdateHeader | Pledge) and self.state.oldest_base < height <= current:
            height = current  # An older update may stand in this block.
        if self.twin.is_listening:
            self.twin.hear(self.state, message)
        if height < current:
            commit = self._catch_up.take_late(self.state, self.last_commit, self._last_body, message)
            if commit is not self.last_commit:
                self.neighbours.forward(peer, message, message_id)
                self.last_commit = commit
                if self.work is not None:
                    self.work.last_commit = commit
            return  # Late, not wrong: we were faster.
        if height > current:
            self._catch_up.note(peer, height)
            self._follow()
        if self.work is None or height > current:
            if height <= current + 1:
                self._early.keep(peer, message, message_id)
            return
        if self.neighbours.has_seen(message_id):
            return
        if deliver(self.work, message, now_ms):
            self.neighbours.forward(peer, message, message_id)

    def _take_digest(self, peer: bytes, digest: Digest, now_ms: int) -> None:
        """Send the peer what it lacks, or note that it is ahead of us."""
        self._catch_up.note(peer, digest.height)
        if self.neighbours.table.is_member(peer) and 0 < self._height_final < digest.height:
            self._finished_peers.add(peer)
        if (digest.step == LISTENS) != (peer in self._shared.listening):
            self._shared.listening ^= {peer}
            self._refresh(now_ms)
        if digest.height > self.state.next_height:
            self._follow()
            return
        self._repair.answer(peer, digest, self.state, self.work, self.last_commit, now_ms)

    # Timers and answers

    def _take_timer(self, timer: Timer, now_ms: int) -> None:
        if timer.kind == "gossip":
            self.neighbours.tick(now_ms)
            self._repair.tell(self.state, self.work, now_ms)
            if self.sync is not None:
                self.sync.tick(now_ms)
            is_wanting = not self.is_finished or self.state.model is None  # The last model counts too.
            if self._catch_up.is_behind(self.state) and self.work is None and is_wanting:
                self._catch_up.proceed(self.state)
            self._schedule_gossip()
        elif timer.kind == "listen":
            self.twin.listen(self.neighbours, now_ms)
            self._start_height(now_ms)
            self._ask_for_height(now_ms)  # Others may wait for us again.
        elif timer.kind == "sync":
            self._is_sync_due = False
            if timer.height == self.state.next_height and self._catch_up.is_behind(self.state):
                self._catch_up.proceed(self.state)
        elif self.work is not None and timer.height == self.work.height:
            self.work.take_timer(timer, now_ms)

    def _take_answer(
        self,
        event: events.PayloadFetched | events.BodyFetched | events.ProposalBuilt | events.ProposalChecked,
        now_ms: int,
    ) -> None:
        if self.work is None:
            return
        match event:
            case events.PayloadFetched():
                self.work.take_payload(event, now_ms)
            case events.BodyFetched() if event.header.height == self.work.height:
                self.work.take_body(event, now_ms)
            case events.ProposalBuilt():
                self.work.take_built(event, now_ms)
            case events.ProposalChecked():
                self.work.take_checked(event, now_ms)

    def _begin_at(self, event: events.SnapshotFetched, now_ms: int) -> None:
        """Begin with the state of a snapshot; what is newer comes by blocks, as after any absence."""
        block, state = event.block, event.state
        assert block is not None and state is not None  # noqa: PT018
        if self._catch_up.contradicts_checkpoint(block.header):
            return
        self._outbox.append(StoreSnapshot(block, state))
        self._outbox.append(Observe(StateSynced(state.height, state.header_hash)))
        self.state, self.last_commit, self.sync = state, block.commit, None
        self._catch_up.is_paused = False
        self._settle_after_block()
        self._catch_up.proceed(self.state)
        self._start_height(now_ms)
        self._ask_for_height(now_ms)

    def _take_blocks(self, event: events.BlocksFetched, now_ms: int) -> None:
        if self.work is not None and event.blocks and self.work.engine.polkas:
            self._outbox.append(StorePolkas(self.work.engine.polkas))  # The blocks may end this work.
        self.state, commit = self._catch_up.take_blocks(self.state, self.last_commit, event, now_ms)
        if commit is not None:
            assert commit.height == self.state.height
            self.last_commit, self._last_body = commit, None
            self._end_work()
            self._settle_after_block()
        self._catch_up.proceed(self.state)
        self._start_height(now_ms)
        self._ask_for_height(now_ms)

    # Heights

    def _start_height(self, now_ms: int) -> None:
        """Begin the next height, unless it is under way, the model is missing, or all is done."""
        if self.work is not None or self.twin.is_listening:
            return
        if self.is_finished:
            self._early.pop_all()
            return
        if self.state.model is None:
            self._catch_up.proceed(self.state)
            return
        height, history = self._history
        self._history = (0, ())  # It is for the first height of this life alone, if that is still to come.
        replayed = history if height == self.state.next_height else ()
        work = self.work = HeightWork(
            self.state, self.last_commit, self._shared, now_ms, replayed, self._last_pool
        )
        self._own.start_height(self.state, work, now_ms)
        work.start(now_ms)
        for peer, message, message_id in self._early.pop_all():
            self._take_message(peer, message, message_id, now_ms)

    def _end_work(self) -> None:
        """Leave the height; what its pool holds may count in a later block."""
        if self.work is not None:
            self._last_pool, self.work = self.work.pool, None

    def _refresh(self, now_ms: int) -> None:
        if self.work is not None:
            self.work.refresh(now_ms)

    def _advance(self, now_ms: int) -> None:
        """Commit what is decided and checked, and begin the next height."""
        while self.work is not None and self.work.decided is not None:
            commit = self.work.decided
            value = self.work.values.get(commit.value_id)
            if value is None or value.state is None or value.body is None:
                self._schedule_sync()
                return
            block = Block(value.header, value.body, commit)
            if self._catch_up.contradicts_checkpoint(block.header):
                return
            self._outbox.append(StoreBlock(block, value.state, self.work.engine.polkas))
            self._outbox.append(Append(Ended(block.header.height)))  # W3
            took_ms = now_ms - self.work.started_ms
            self._outbox.append(Observe(committed(block, self.state, took_ms=took_ms, caught_up=False)))
            merged = {update.trainer for update in block.body.updates}
            for header in self.work.pool.unserved():
                if header.trainer not in merged:
                    refused = UpdateRefused(block.header.height, header.trainer, UNSERVED)
                    self._outbox.append(Observe(refused))
            self._outbox.extend(map(Observe, ledger_facts(block, self.state, value.state)))
            self._repair.decided(now_ms)
            self.state, self.last_commit, self._last_body = value.state, commit, block.body
            self._end_work()
            self._settle_after_block()
            self._start_height(now_ms)

    def _settle_after_block(self) -> None:
        self._shared.settled(self.state.train_index)
        self._shared.qualities.prune(self.state.height)
        self.neighbours.set_validators(self.state.validators, self.state.next_validators)
        self.transactions.prune(self.state)
        self._shared.evidence.prune(self.state)
        if self.is_finished:
            self._outbox.append(Observe(NetworkFinished(self.state.height)))
            self._repair.tell_members(self.state, self.work)  # Who waits for us may leave now.

    def _ask_for_height(self, now_ms: int) -> None:
        """After catching up, ask for what the others have said of this height before we listened."""
        if self.work is not None:
            self._repair.tell(self.state, self.work, now_ms)

    def _schedule_gossip(self) -> None:
        self._outbox.append(ScheduleTimeout(Timer("gossip", 0, 0), GOSSIP_MS))

    def _follow(self) -> None:
        """Fetch blocks: at once where a peer is far ahead, else only if our own vote doesn't finish ours."""
        if self._catch_up.is_far_behind(self.state):
            self._catch_up.proceed(self.state)
        else:
            self._schedule_sync()

    def _schedule_sync(self) -> None:
        if not self._is_sync_due:
            self._is_sync_due = True
            self._outbox.append(ScheduleTimeout(Timer("sync", self.state.next_height, 0), BEHIND_MS))
