"""The simulated world: one heap of virtual time, one seed, all peers. Nothing in it waits or is random."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

from msgspec import Struct

from p2pfed.adversary.effects import Boast
from p2pfed.chain.invalid_update import judge_payload
from p2pfed.chain.state import ChainState
from p2pfed.errors import PeerFault
from p2pfed.learning.learner import ACCURACY_PUBLIC, Metrics
from p2pfed.node import events
from p2pfed.node.checks import OWN_CHECKS
from p2pfed.node.effects import CheckProposal
from p2pfed.node.events import Event
from p2pfed.node.facts import Fact
from p2pfed.primitives import codec
from p2pfed.primitives.keys import PrivateKey
from p2pfed.primitives.merkle import chunk_root
from p2pfed.sim.accidents import Accidents
from p2pfed.sim.agenda import Action, Agenda
from p2pfed.sim.bulk import REQUEST_TIMEOUT_MS
from p2pfed.sim.disk import Disk
from p2pfed.sim.judge import Judge
from p2pfed.sim.learner import DIGITS, GENESIS_TIME_MS, Learners
from p2pfed.sim.meter import Meter
from p2pfed.sim.network import Network
from p2pfed.sim.peer import SimPeer
from p2pfed.sim.post import Post
from p2pfed.sim.scenario import Scenario
from p2pfed.sim.shared_checks import SharedChecks
from p2pfed.sim.trace import Trace, summary
from p2pfed.sim.transcript import Witness, words
from p2pfed.types.address import Multiaddr
from p2pfed.types.block import Block
from p2pfed.types.wire import ControlMessage, ProposalMessage

START_MS = GENESIS_TIME_MS + 1_000
STALL_MS = 60_000  # Longer than any honest wait: EMPTY after 60 s of silence is not met, somebody trains.
# The others hear of a death when the pipe breaks; what was on its way by then still arrives.
DEATH_NOTICE_MS = 50
CHECKED_MAX = 16  # States kept for others where blocks are checked once for all.


class Result(Struct, frozen=True):
    """What a run came to.

    heights: The newest height of each peer, in their order.
    decided: The value id of every final height, ascending.
    violations: What broke a law; empty in a good run.
    crashes: Lives that ended, whatever ended them.
    accuracy: Of the last common model on the public digits.
    forks: Heights with two final blocks; more than none ends a run, and is allowed from a third of liars on.
    accused_power: The power that a fork convicts of E1 or E2, the least one; None where there was none.
    included: Updates that all honest signers held and that the block had to carry, over all heights.
    older: Updates in blocks that trained from an older model than the last.
    fired: How often each fault of the scenario struck.
    commit_ms: From the first proposal of a value to an honest peer's block, the median; -1: no block.
    messages, message_bytes: That arrived, pulls included.
    duplicates: Messages that came to a peer after it had heard the very same.
    """

    heights: tuple[int, ...]
    decided: tuple[bytes, ...]
    violations: tuple[str, ...]
    trace_hash: str
    events: int
    virtual_ms: int
    crashes: int
    accuracy: float
    forks: int = 0
    accused_power: int | None = None
    included: int = 0
    older: int = 0
    fired: tuple[int, ...] = ()
    commit_ms: int = -1
    messages: int = 0
    message_bytes: int = 0
    duplicates: int = 0


class World:
    """All peers of a run, their wires and the clock. `facts` is all that was observed, in order."""

    def __init__(
        self, scenario: Scenario, witness: Witness | None = None, learners: Learners = DIGITS
    ) -> None:
        self.scenario, self.learners = scenario, learners
        self.agenda = Agenda(START_MS)
        self.trace, self.meter = Trace(), Meter()
        self.facts: list[tuple[int, int, Fact | Boast]] = []  # (virtual time, peer, fact)
        self.blames: list[tuple[int, bytes, PeerFault]] = []  # (peer, culprit, fault)
        self.crashes = 0
        self._witness = witness
        self._checked: dict[tuple[bytes, bytes], ChainState] = {}  # By the blocks before and after.
        shared = SharedChecks() if scenario.is_shared else None
        self.checks = shared.checks if shared else OWN_CHECKS
        self.root_of = shared.root_of if shared else chunk_root
        self.judge_payload = shared.judge if shared else judge_payload
        self._dice = Random(scenario.seed)
        self._network = Network(scenario, self._dice)
        self.post = Post(self, self._network)
        self._accidents = Accidents(scenario, self._network.fired)
        self.bends_time = self._accidents.bends_time  # Whether peers pause, or their clocks jump.
        everyone = [
            PrivateKey(self._dice.randbytes(31).rjust(32, b"\1"))
            for _ in range(scenario.peers + scenario.observers)
        ]
        keys = tuple(sorted(everyone[: scenario.peers], key=lambda key: key.public))
        self.genesis, model = learners.found(keys, scenario)
        self._shares = sum(one.trains for one in self.genesis.participants)  # Of the data.
        places = (*scenario.trainer_places, *[None] * scenario.observers)
        self._trainers = {trainer.peer: trainer for trainer in scenario.trainers}
        self.peers: list[SimPeer] = []
        liars_from = scenario.peers - len(scenario.byzantine)
        for number, key in enumerate((*keys, *everyone[scenario.peers :])):
            is_member, liar = number < scenario.peers, number - liars_from
            byzantine = scenario.byzantine[liar] if is_member and liar >= 0 else ""
            place = places[number]
            self.peers.append(
                SimPeer(
                    self,
                    number,
                    key,
                    Disk(self.genesis, model),
                    learner=learners.session(place, self._shares, byzantine) if place is not None else None,
                    byzantine=byzantine,
                    skew_ms=self._dice.randint(-scenario.skew_ms, scenario.skew_ms),
                )
            )
        self.numbers = {peer.public: peer.number for peer in self.peers}
        self._by_address = {(peer.address.host, peer.address.port): peer for peer in self.peers}
        self.honest = tuple(peer for peer in self.peers if not peer.byzantine)
        self._waited_for = self.honest[0]
        self.judge = Judge(scenario, self.peers, model)
        self._violations, self._forks = self.judge.violations, self.judge.checkers.forks
        self._last = self.genesis.params.height_final
        arrivals = [late.from_ms for late in scenario.late]
        self._calm_ms = START_MS + max(scenario.heal_ms, *arrivals, 0)
        self._progress_ms = START_MS
        self._proposed_ms: dict[bytes, int] = {}  # When a value was first proposed.
        self._commits_ms: list[int] = []  # From then to each honest peer's block.

    def run(self) -> Result:
        """Run until every honest peer has the last height, a law is broken, or nothing moves any more."""
        late = {one.peer: one.from_ms for one in self.scenario.late}
        for peer in self.peers:
            if peer.number in late:
                peer.disk.wipe()
            self.after(late.get(peer.number, 0), peer.start)
        self._accidents.schedule(self)
        for at_ms in self._network.tears():
            self.after(at_ms, self._tear)
        looked_ms = self.now_ms
        while not self.is_over and (action := self.agenda.pop()) is not None:
            if self.agenda.now_ms != looked_ms:
                looked_ms = self.now_ms
                if self._is_time_over():
                    break
            action()
        for peer in self.honest:
            if peer.is_up and not self.judge.violations:
                peer.check_log()
        return self._result()

    @property
    def is_over(self) -> bool:
        """Answer whether a law is broken, the chain forked, or all honest are up and have the last model."""
        if self._violations or self._forks:
            return True
        if not self._waited_for.has_model_of(self._last):  # Asked after every event: who lacks it is kept.
            return False
        lacking = (peer for peer in self.honest if not peer.has_model_of(self._last))
        self._waited_for = next(lacking, self._waited_for)
        return self._waited_for.has_model_of(self._last)

    def _is_time_over(self) -> bool:
        """Answer whether the scenario's time is up, or nothing has come of anything for too long."""
        if self.scenario.run_ms:
            return self.scenario.run_ms < self.virtual_ms
        is_stalled = self.now_ms > max(self._progress_ms, self._calm_ms) + STALL_MS
        if is_stalled:
            self.judge.violations.append(f"no progress for {STALL_MS} ms: heights {self._heights()}")
        return is_stalled

    @property
    def now_ms(self) -> int:
        """The time, ms since 1970."""
        return self.agenda.now_ms

    def after(self, delay_ms: int, action: Action) -> None:
        """Do something `delay_ms` from now, after what is due then already."""
        self.agenda.after(delay_ms, action)

    def work_ms(self, peer: SimPeer, bounds: tuple[int, int]) -> int:
        """Return how long some work of a peer takes this time."""
        return self._dice.randint(*bounds) + self._accidents.work_ms(peer.number, self.virtual_ms)

    def train_ms(self, peer: SimPeer) -> int:
        """Return how long a training of a peer takes this time."""
        own = self._trainers.get(peer.number)
        return self.work_ms(peer, own.train_ms if own else self.scenario.train_ms)

    def can_train(self, peer: SimPeer) -> bool:
        """Answer whether a training comes to something this time."""
        own = self._trainers.get(peer.number)
        return own is None or not own.fails or self._dice.randrange(1000) >= own.fails

    def pause_ms(self, peer: SimPeer) -> int:
        """Return how long a peer stands still from now on."""
        return self._accidents.pause_ms(peer.number, self.virtual_ms)

    def clock_ms(self, peer: SimPeer) -> int:
        """Return how far a peer's clock has jumped."""
        return self._accidents.clock_ms(peer.number, self.virtual_ms)

    @property
    def virtual_ms(self) -> int:
        """The time since the start, in which scenarios count."""
        return self.now_ms - START_MS

    # Pipes

    def dial(self, peer: SimPeer, addresses: tuple[Multiaddr, ...]) -> None:
        """Answer a Dial: both ends learn of the pipe at the same moment."""
        found = (self._by_address.get((address.host, address.port)) for address in addresses)
        others = sorted({one for one in found if one is not None}, key=lambda one: one.number)

        def arrive() -> None:
            for other in others:
                if self._network.pipe(peer.number, other.number) is not None:
                    return  # It dialled us meanwhile.
                if other.is_up and not self._network.is_cut(peer.number, other.number, self.virtual_ms):
                    self._network.open(peer.number, other.number)
                    self.trace.add(self.now_ms, peer.number, f"pipe {other.number}")
                    self._note(peer.number, f"opens a pipe to {other.number}")
                    other.handle(events.PeerConnected(peer.public, None))
                    peer.handle(events.PeerConnected(other.public, other.address))
                    return
            peer.handle(events.DialFailed(addresses))

        delays = self._network.delays(peer.number, peer.number, "dial", 0, self.virtual_ms)
        peer.later(delays[0] if delays else REQUEST_TIMEOUT_MS, arrive)

    def disconnect(self, peer: SimPeer, public: bytes) -> None:
        """Close a pipe by one end's wish; both ends learn of it before anything else happens."""
        other = self.peers[self.numbers[public]]
        if self._network.close(peer.number, other.number):
            self._note(peer.number, f"has no pipe to {other.number} any more")
            self.after(0, lambda: peer.handle(events.PeerDisconnected(other.public)))
            self.after(0, lambda: other.handle(events.PeerDisconnected(peer.public)))

    def died(self, peer: SimPeer, down_ms: int) -> None:
        """Break a dead peer's pipes after a while, and bring it back."""
        self.crashes += 1
        self.judge.checkers.died(peer.public, peer.disk.load_record())
        self.trace.add(self.now_ms, peer.number, "crash")
        self._note(peer.number, f"dies, for {down_ms} ms")
        for number in self._network.partners(peer.number):
            other = self.peers[number]
            self.after(DEATH_NOTICE_MS, partial(self.disconnect, other, peer.public))
        down_ms = max(down_ms, 2 * DEATH_NOTICE_MS)
        self._calm_ms = max(self._calm_ms, self.now_ms + down_ms)
        self.after(down_ms, peer.start)

    def has_pipe(self, peer: SimPeer, public: bytes) -> bool:
        """Answer whether a peer has a pipe with the one of this key."""
        return self.numbers.get(public) in self._network.pipes(peer.number)

    def partners(self, peer: SimPeer) -> tuple[bytes, ...]:
        """Return whom a peer has a pipe with."""
        return tuple(self.peers[number].public for number in self._network.partners(peer.number))

    def ask_blocks(self, peer: SimPeer, public: bytes, from_height: int) -> None:
        """Answer FetchBlocks."""
        self.post.request(
            peer,
            public,
            lambda other: other.serve_blocks(from_height),
            lambda blocks: peer.take_blocks(public, blocks),
            lambda blocks: sum(len(codec.encode(block)) for block in blocks),
        )

    # What peers did

    def checked(self, effect: CheckProposal, check: Callable[[], ChainState]) -> ChainState:
        """Return the state after a block; where the scenario is shared, who checks it first does it for all.

        A check reads the state before and the block alone, so the others would find the same.
        """
        if not self.scenario.is_shared:
            return check()
        name = (effect.state.header_hash, effect.header.value_id)
        found = self._checked.get(name)
        if found is None:
            if len(self._checked) >= CHECKED_MAX:
                self._checked.clear()
            found = self._checked[name] = check()
        return found

    def speaks(self, peer: SimPeer, message: ControlMessage) -> None:
        if isinstance(message, ProposalMessage):
            self._proposed_ms.setdefault(message.proposal.value_id, self.now_ms)
        self.judge.speaks(peer, message)

    def told(self, peer: SimPeer, event: Event, line: str) -> None:
        """A peer is told of an event; `line` is its summary where that is made already."""
        self.trace.add(self.now_ms, peer.number, line or summary(event))
        if isinstance(event, events.MessageReceived):
            self.judge.hears(peer, event.message)
        if self._witness is not None:
            self._witness(self.virtual_ms, peer.number, words(event, self._name))

    def stored(self, peer: SimPeer, block: Block, state: ChainState) -> None:
        self.trace.add(self.now_ms, peer.number, f"block {block.header.value_id.hex()}")
        self._note(peer.number, f"stores block {block.header.height}: {block.header.value_id.hex()[:6]}")
        if not peer.byzantine:
            self._progress_ms = self.now_ms
            proposed_ms = self._proposed_ms.get(block.header.value_id)
            if proposed_ms is not None and state.model is not None:
                self._commits_ms.append(self.now_ms - proposed_ms)
        self.judge.stored(peer, block, state)

    def blamed(self, peer: SimPeer, culprit: bytes, fault: PeerFault) -> None:
        self.blames.append((peer.number, culprit, fault))
        self.judge.blamed(peer, culprit, fault)

    def observed(self, peer: SimPeer, fact: Fact | Boast) -> None:
        self.facts.append((self.virtual_ms, peer.number, fact))
        if not isinstance(fact, Boast):
            self.judge.observed(peer, fact)

    def _tear(self) -> None:
        """Break the pipes that a fault cuts now."""
        for first, second in self._network.broken(self.virtual_ms):
            self.disconnect(self.peers[first], self.peers[second].public)

    def _name(self, public: bytes) -> str:
        number = self.numbers.get(public)
        return f"peer {number}" if number is not None else public.hex()[:6]

    def _note(self, number: int, text: str) -> None:
        if self._witness is not None:
            self._witness(self.virtual_ms, number, text)

    def figures(self, state: ChainState) -> Metrics:
        """Return what the first learner measures of the model of `state`."""
        return self.learners.figures(self._shares, state)

    def _heights(self) -> tuple[int, ...]:
        return tuple(peer.disk.height for peer in self.peers)

    def _result(self) -> Result:
        accused, final = self.judge.convict(), self.judge.checkers.final
        best = max(self.honest, key=lambda peer: peer.disk.height)
        state = best.disk.recover()[0]
        accuracy = float(self.figures(state).get(ACCURACY_PUBLIC, 0.0))
        self.judge.compare(state, accuracy)
        return Result(
            heights=self._heights(),
            decided=tuple(final[height][0] for height in sorted(final)),
            violations=tuple(self.judge.violations),
            trace_hash=self.trace.digest(),
            events=self.trace.events,
            virtual_ms=self.virtual_ms,
            crashes=self.crashes,
            accuracy=accuracy,
            forks=len(self.judge.checkers.forks),
            accused_power=accused,
            included=self.judge.chain.included,
            older=self.judge.older,
            fired=tuple(self._network.fired),
            commit_ms=sorted(self._commits_ms)[len(self._commits_ms) // 2] if self._commits_ms else -1,
            messages=self.post.messages,
            message_bytes=self.post.message_bytes,
            duplicates=self.post.duplicates,
        )


def run(scenario: Scenario, witness: Witness | None = None) -> Result:
    """Run a scenario to its end. The same one gives the same result, bit for bit."""
    return World(scenario, witness).run()
