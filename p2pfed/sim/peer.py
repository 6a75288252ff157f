"""One simulated peer: carries out its node's effects in order, dies between any two, comes back from disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar, assert_never

from p2pfed.adversary.base import Adversary
from p2pfed.adversary.effects import AdversaryEffect, Boast, Craft, SendBytes
from p2pfed.adversary.registry import make_adversary
from p2pfed.chain import check, propose
from p2pfed.chain.form import payload_form
from p2pfed.chain.gate import is_gated, watches_classes
from p2pfed.chain.light import rules_of, trusted_genesis
from p2pfed.chain.state import ChainState
from p2pfed.consensus.journal import Entry
from p2pfed.errors import DiskFull, InvalidBlock, LocalError, StorageFault
from p2pfed.learning.pace import Pace
from p2pfed.learning.session import Session
from p2pfed.node import effects, events
from p2pfed.node.effects import Effect
from p2pfed.node.events import Event
from p2pfed.node.node import Node
from p2pfed.node.state_sync import SyncPlan
from p2pfed.primitives.keys import PrivateKey
from p2pfed.sim.disk import Disk
from p2pfed.sim.fetching import Fetching
from p2pfed.sim.learner import no_feedback, quality, train
from p2pfed.sim.log_checker import LogChecker, open_log
from p2pfed.sim.power import PowerCut, Switch
from p2pfed.types.address import Multiaddr
from p2pfed.types.block import Block
from p2pfed.types.genesis import Genesis
from p2pfed.types.model import Int16Vector
from p2pfed.types.params import BLOCKS_PER_RESPONSE_MAX

if TYPE_CHECKING:
    from p2pfed.sim.world import World

T = TypeVar("T")

COMPUTE_MS = (1, 8)  # Shortest and longest; drawn for each block that is built or checked.
PORT = 7400


class SimPeer:
    """A key, a disk that survives, and a node that doesn't. `learner` None: an observer."""

    def __init__(
        self,
        world: World,
        number: int,
        key: PrivateKey,
        disk: Disk,
        *,
        learner: Session | None,
        byzantine: str,
        skew_ms: int,
    ) -> None:
        self.number = number
        self.key = key
        self.public = key.public
        self.address = Multiaddr(f"10.0.{number >> 8}.{number & 255}", PORT, None)
        self.disk = disk
        self.byzantine = byzantine
        self.is_up = False
        self.heard: set[bytes] = set()  # Ids of messages since its newest block, to count what comes twice.
        self.effects_done = 0  # Over all lives: what crashes are counted in.
        self._world = world
        self._learner = learner
        self._skew_ms = skew_ms
        self._clock_ms = 0  # It never runs backwards within a life.
        self._life = 0
        self._log_checker = LogChecker()
        crashes = [crash for crash in world.scenario.crashes if crash.peer == number]
        self._due_crashes = sorted((one.effect, one.down_ms) for one in crashes if not one.at)
        self.switch = Switch([(one.at, one.effect, one.down_ms) for one in crashes if one.at])
        self.log_missing = ""  # Why the last start could not use the log of its height.
        self.started_ms = 0
        self.spoke_ms: int | None = None  # When it first spoke in this life.

    @property
    def genesis(self) -> Genesis:
        return self._world.genesis

    def has_model_of(self, height: int) -> bool:
        """Answer whether this peer is up and has the model after `height`."""
        return self.is_up and self.node.state.height >= height and self.node.state.model is not None

    def start(self) -> None:
        """Begin a life from what the disk holds; what production refuses to start with is a halt."""
        self.is_up = True
        self._life += 1
        self.started_ms, self.spoke_ms = self._world.now_ms, None
        self.disk.watch(self.switch.pass_point)
        try:
            self._start()
        except PowerCut as cut:
            self._crash(cut.down_ms)
        except (LocalError, StorageFault) as error:
            self.is_up = False
            self._world.judge.halted(self, str(error))

    def _start(self) -> None:
        world = self._world
        state, last_commit = self.disk.recover()
        self._clock_ms, self._left, self._pace = 0, no_feedback(world.genesis), Pace()
        self._fetching = Fetching(world, self)
        history = self._open_log(state)
        self.node = Node(
            key=self.key,
            state=state,
            last_commit=last_commit,
            record=self.disk.load_record(),
            history=history,
            records=self.disk.load_peers(),
            contacts=tuple(world.peers[other].address for other in world.scenario.dialled_by(self.number)),
            is_learning=self._learner is not None,
            is_exchanging=not world.scenario.topology,
            sync_plan=self._sync_plan(),
            checks=world.checks,
        )
        self.node.neighbours.table.mesh_degree = world.scenario.mesh_degree
        self._actor: Node | Adversary = self.node
        if self.byzantine:
            liars = tuple(peer.public for peer in world.peers if peer.byzantine)
            self._actor = make_adversary(self.byzantine, self.node, self.key, world.scenario.seed, liars)
        self.handle(events.Started())
        self.handle(events.AddressesChanged((self.address,)))

    def _sync_plan(self) -> SyncPlan | None:
        """Return how to join by state where there is nothing on the disk."""
        if not self.disk.is_empty:
            return None
        genesis = self._world.genesis
        return SyncPlan(rules_of(genesis), trusted_genesis(genesis), None, None)

    def handle(self, event: Event, line: str = "") -> None:
        """Let the peer take a step and carry out what it asks for, unless it dies on the way.

        `line` is the summary of the event, where many are told of the same.
        """
        if not self.is_up:
            return
        world, jump_ms = self._world, 0
        if world.bends_time:
            wait_ms = world.pause_ms(self)
            if wait_ms:
                self.later(wait_ms, partial(self.handle, event, line))
                return
            jump_ms = world.clock_ms(self)
        world.told(self, event, line)
        self._clock_ms = max(self._clock_ms, world.agenda.now_ms + self._skew_ms + jump_ms)
        asked, number = world.meter.step(self._actor, event, self._clock_ms), 0
        try:
            for number, effect in enumerate(asked):
                if self._due_crashes and self._due_crashes[0][0] <= self.effects_done:
                    self.check_log(asked[number:])
                    self._crash(self._due_crashes.pop(0)[1])
                    return
                self.effects_done += 1
                self._carry_out(effect)
        except PowerCut as cut:
            self.check_log(asked[number + 1 :])
            self._crash(cut.down_ms)
            return
        except DiskFull:
            self._stop_until_cleaned()
        if not self.byzantine:
            world.judge.checkers.after(self)

    def later(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Do something in this life, if it lasts."""
        self._world.agenda.after(delay_ms, partial(self._act, self._life, action))

    def _act(self, life: int, action: Callable[[], None]) -> None:
        if self.is_up and self._life == life:
            try:
                action()
            except PowerCut as cut:
                self.check_log()
                self._crash(cut.down_ms)
            except DiskFull:
                self._stop_until_cleaned()

    def kill(self, down_ms: int) -> bool:
        """Let the peer die now; answer whether it lived."""
        if self.is_up:
            self._crash(down_ms)
            return True
        return False

    def _stop_until_cleaned(self) -> None:
        """Stop as production does where the disk is full; its operator makes room and starts it again."""
        if self.is_up:
            self._crash(max(0, self.disk.full_until_ms - self._world.virtual_ms) + 1)

    def check_log(self, coming: Sequence[Effect | AdversaryEffect] = ()) -> None:
        """Check that the log, with what is still to be appended, gives the state of the engine."""
        entries = [effect.entry for effect in coming if isinstance(effect, effects.Append)]
        self._world.judge.found(self, self._log_checker.compare(self.node.work, entries))

    def _open_log(self, state: ChainState) -> tuple[Entry, ...]:
        """Read the log as at any start; return what it holds of the height after `state`."""
        found = open_log(self.disk, self._world.genesis.chain_id, state.next_height, self._log_checker)
        self._log, self.log_missing = found.log, found.missing
        self._world.judge.found(self, found.problem)
        return found.history

    def _crash(self, down_ms: int) -> None:
        self.is_up = False
        self.disk.lose()
        self._world.died(self, down_ms)

    def _carry_out(self, effect: Effect | AdversaryEffect) -> None:
        world = self._world
        match effect:
            case effects.Persist():
                self.disk.save_record(effect.record)
                self._speak()
                if not self.byzantine:
                    world.judge.checkers.persisted(self.public, self.disk.load_record())
            case effects.Append():
                self.disk.verify_room()
                self._log_checker.append(self._log.append(effect.entry), effect.entry)
            case effects.SyncLog():
                self.disk.verify_room()
                self._log.sync()
                self._log_checker.synced()
                self._speak()
            case effects.Send():
                self._send(effect)
            case effects.ScheduleTimeout():
                self.later(effect.delay_ms, lambda: self.handle(events.TimerFired(effect.timer)))
            case effects.Train():
                self.later(world.train_ms(self), lambda: self._train(effect))
            case effects.FetchPayload():
                self._fetching.payload(effect)
            case effects.FetchBody():
                self._fetching.body(effect)
            case effects.FetchBlocks():
                world.ask_blocks(self, effect.peer, effect.from_height)
            case effects.FetchModel():
                self._fetching.model(effect)
            case effects.BuildProposal():
                self.later(world.work_ms(self, COMPUTE_MS), lambda: self._build(effect))
            case effects.CheckProposal():
                self.later(world.work_ms(self, COMPUTE_MS), lambda: self._check(effect))
            case effects.AskSnapshot():
                self._ask(
                    effect.peer,
                    lambda other: other.disk.snapshot(effect.height),
                    lambda snapshot: self.handle(events.SnapshotOffered(effect.peer, snapshot)),
                )
            case effects.AskLightBlock():
                self._ask(
                    effect.peer,
                    lambda other: other.disk.light_block(effect.height),
                    lambda block: self.handle(events.LightBlockFetched(effect.peer, effect.height, block)),
                )
            case effects.FetchSnapshot():
                self._fetching.snapshot(effect)
            case effects.StoreSnapshot():
                self.disk.save_base(effect.block, effect.state)
                world.stored(self, effect.block, effect.state)
            case effects.StoreBlock():
                self.disk.save_polkas(effect.polkas)
                self.disk.save_block(effect.block, effect.state)
                self.heard.clear()
                self._fetching.passed(effect.block.header.height)
                world.stored(self, effect.block, effect.state)
                if is_gated(effect.state):
                    self.later(world.work_ms(self, COMPUTE_MS), lambda: self._evaluate(effect.state))
            case effects.StorePolkas():
                self.disk.save_polkas(effect.polkas)
            case effects.RememberPeers():
                self.disk.save_peers(effect.records)
            case effects.Dial():
                world.dial(self, effect.addresses)
            case effects.Disconnect():
                world.disconnect(self, effect.peer)
            case effects.Blame():
                world.blamed(self, effect.peer, effect.fault)
            case effects.Observe():
                world.observed(self, effect.fact)
            case effects.Halt():
                world.judge.halted(self, effect.reason)
            case Craft():
                self.later(world.work_ms(self, COMPUTE_MS), lambda: self._craft(effect))
            case SendBytes():
                world.post.send_bytes(self, effect.peers, effect.data)
            case Boast():
                world.observed(self, effect)
            case _:
                assert_never(effect)

    def _evaluate(self, state: ChainState) -> None:
        """Say what a new model is worth."""
        if self._learner is None or state.model is None:
            return
        if (word := quality(self._learner, state, self._pace)) is not None:
            self.handle(events.Evaluated(state.height, *word))

    def _speak(self) -> None:
        """Note when this life takes part again: something it says is durable now."""
        if self.spoke_ms is None:
            self.spoke_ms = self._world.now_ms

    def _send(self, effect: effects.Send) -> None:
        letter = self._world.post.letter(effect.message)
        self._world.speaks(self, letter.message)  # What we send is what they read.
        self._world.post.send(self, effect.peers, letter)

    # Work that takes time

    def _train(self, effect: effects.Train) -> None:
        if self._learner is None or not self._world.can_train(self):
            self.handle(events.TrainingFailed(effect.base_height, "no data this time"))
            return
        try:
            if watches_classes(effect.state) and effect.state.model is not None:
                self._pace.see(effect.state.height, effect.state.model)
            payload, examples, self._left = train(self._learner, effect.state, self._left, self.public)
        except LocalError as error:
            self.handle(events.TrainingFailed(effect.base_height, str(error)))
            return
        root = self.disk.put(payload)
        self.handle(events.Trained(effect.base_height, root, len(payload), examples))

    def _build(self, effect: effects.BuildProposal) -> None:
        read = self._payloads(effect.state)
        header, body, state = self._world.meter.work(
            lambda: propose.build(effect.state, effect.inputs, effect.round, read)
        )
        self.disk.save_pending(body)
        self.handle(events.ProposalBuilt(header.height, effect.round, header, body, state))

    def _check(self, effect: effects.CheckProposal) -> None:
        value_id = effect.header.value_id
        try:
            state = self._world.checked(
                effect, partial(self._world.meter.work, lambda: self._checked(effect))
            )
        except InvalidBlock as refusal:
            self.handle(events.ProposalChecked(value_id, None, str(refusal)))
        else:
            self.disk.save_pending(effect.body)
            self.handle(events.ProposalChecked(value_id, state, ""))

    def _checked(self, effect: effects.CheckProposal) -> ChainState:
        return check.check(effect.state, effect.header, effect.body, self._payloads(effect.state))

    def _craft(self, effect: Craft) -> None:
        form, seed = payload_form(self._world.genesis), self.node.state.seed
        others = [self._row(root, seed) for root in effect.other_roots]
        payload = effect.payload(self._row(effect.own_root, seed), others, form, seed)
        root = self.disk.put(payload)
        self.handle(events.Trained(effect.base_height, root, len(payload), effect.examples))

    def _payloads(self, state: ChainState) -> check.Payloads:
        return lambda header: self._row(header.payload_root, state.seed)

    def _row(self, root: bytes, seed: bytes) -> Int16Vector:
        data = self.disk.blob(root)
        assert data is not None
        return payload_form(self._world.genesis).decode(data, seed)

    # What others ask for, and what it asks of them

    def _ask(self, peer: bytes, ask: Callable[[SimPeer], T | None], take: Callable[[T | None], None]) -> None:
        self._world.post.request(self, peer, ask, take)

    def take_blocks(self, source: bytes, blocks: tuple[Block, ...] | None) -> None:
        """Take an answer: None where there was none, no blocks where the other has none of these."""
        self.handle(events.BlocksFetched(source, blocks or (), is_missing=blocks == ()))

    def serve(self, root: bytes) -> bytes | None:
        """Return a blob for whoever asks; a liar may keep it back."""
        data = self.disk.blob(root)
        if data is None or not isinstance(self._actor, Adversary):
            return data
        return None if self._actor.withholds(root) else self._actor.shown(data)

    def serve_blocks(self, from_height: int) -> tuple[Block, ...] | None:
        return self.disk.blocks(from_height, BLOCKS_PER_RESPONSE_MAX)
