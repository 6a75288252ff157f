"""The simulated world: one heap of virtual time, one seed, all peers. Nothing in it waits or is random."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from random import Random
from typing import TypeVar

from msgspec import Struct

from p2pfed.adversary.effects import Boast
from p2pfed.chain.state import ChainState
from p2pfed.consensus.signer import SignRecord
from p2pfed.errors import PeerFault
from p2pfed.node import events
from p2pfed.node.facts import Fact
from p2pfed.primitives.keys import PrivateKey
from p2pfed.sim.bulk import REQUEST_TIMEOUT_MS
from p2pfed.sim.checkers import Checkers
from p2pfed.sim.disk import Disk
from p2pfed.sim.learner import GENESIS_TIME_MS, accuracy, found, session
from p2pfed.sim.network import Network
from p2pfed.sim.peer import SimPeer
from p2pfed.sim.scenario import Scenario
from p2pfed.sim.trace import Trace
from p2pfed.types.address import Multiaddr
from p2pfed.types.block import Block
from p2pfed.types.wire import ControlMessage, decode_control

T = TypeVar("T")

START_MS = GENESIS_TIME_MS + 1_000
STALL_MS = 60_000  # Longer than any honest wait: EMPTY after 60 s of silence is not met, somebody trains.
# The others hear of a death when the pipe breaks; what was on its way by then still arrives.
DEATH_NOTICE_MS = 50


class Result(Struct, frozen=True):
    """What a run came to.

    heights: The newest height of each peer, in their order.
    decided: The value id of every final height, from 1 on.
    violations: What broke a law; empty in a good run.
    accuracy: Of the last common model on the public digits.
    """

    heights: tuple[int, ...]
    decided: tuple[bytes, ...]
    violations: tuple[str, ...]
    trace_hash: str
    events: int
    virtual_ms: int
    crashes: int
    accuracy: float


class World:
    """All peers of a run, their wires and the clock. `facts` is all that was observed, in order."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.now_ms = START_MS
        self.trace = Trace()
        self.facts: list[tuple[int, int, Fact | Boast]] = []  # (virtual time, peer, fact)
        self.blames: list[tuple[int, bytes, PeerFault]] = []  # (peer, culprit, fault)
        self.crashes = 0
        self._dice = Random(scenario.seed)
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()
        self._network = Network(scenario, self._dice)
        everyone = [
            PrivateKey(self._dice.randbytes(31).rjust(32, b"\1"))
            for _ in range(scenario.peers + scenario.observers)
        ]
        keys = tuple(sorted(everyone[: scenario.peers], key=lambda key: key.public))
        self.genesis, model = found(keys, scenario.heights)
        self.peers: list[SimPeer] = []
        liars_from = scenario.peers - len(scenario.byzantine)
        for number, key in enumerate((*keys, *everyone[scenario.peers :])):
            is_member, liar = number < scenario.peers, number - liars_from
            self.peers.append(
                SimPeer(
                    self,
                    number,
                    key,
                    Disk(self.genesis, model),
                    learner=session(number, scenario.peers) if is_member else None,
                    byzantine=scenario.byzantine[liar] if is_member and liar >= 0 else "",
                    skew_ms=self._dice.randint(-scenario.skew_ms, scenario.skew_ms),
                )
            )
        self._by_key = {peer.public: peer for peer in self.peers}
        self.honest = tuple(peer for peer in self.peers if not peer.byzantine)
        self.checkers = Checkers({peer.public: peer.number for peer in self.honest})
        self._calm_ms = self._last_fault_ms()
        self._progress_ms = START_MS

    def run(self) -> Result:
        """Run until every honest peer has the last height, a law is broken, or nothing moves any more."""
        late = {one.peer: one.from_ms for one in self.scenario.late}
        for peer in self.peers:
            if peer.number in late:
                peer.disk.wipe()
            self.after(late.get(peer.number, 0), peer.start)
        while self._heap and not self.is_over:
            self.now_ms, _, action = heapq.heappop(self._heap)
            if self.now_ms > max(self._progress_ms, self._calm_ms) + STALL_MS:
                self.checkers.stalled(f"no progress for {STALL_MS} ms: heights {self._heights()}")
                break
            action()
        for peer in self.honest:
            if peer.is_up and not self.checkers.violations:
                peer.check_log()
        return self._result()

    @property
    def is_over(self) -> bool:
        """Answer whether a law is broken, or every honest peer is up and has the last model."""
        last = self.scenario.heights
        return bool(self.checkers.violations) or all(peer.has_model_of(last) for peer in self.honest)

    def after(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Do something `delay_ms` from now, after what is due then already."""
        assert delay_ms >= 0
        heapq.heappush(self._heap, (self.now_ms + delay_ms, next(self._order), action))

    def draw(self, bounds: tuple[int, int]) -> int:
        """Return how long some work takes this time."""
        return self._dice.randint(*bounds)

    # Pipes

    def dial(self, peer: SimPeer, addresses: tuple[Multiaddr, ...]) -> None:
        """Answer a Dial: both ends learn of the pipe at the same moment."""
        wanted = {(address.host, address.port) for address in addresses}
        others = [one for one in self.peers if (one.address.host, one.address.port) in wanted]

        def arrive() -> None:
            for other in others:
                if self._network.pipe(peer.number, other.number) is not None:
                    return  # It dialled us meanwhile.
                if other.is_up and not self._network.is_cut(peer.number, other.number, self._virtual_ms()):
                    self._network.open(peer.number, other.number)
                    self.trace.add(self.now_ms, peer.number, f"pipe {other.number}")
                    other.handle(events.PeerConnected(peer.public, None))
                    peer.handle(events.PeerConnected(other.public, other.address))
                    return
            peer.handle(events.DialFailed(addresses))

        peer.later(self._network.delay_ms(self._virtual_ms()), arrive)

    def disconnect(self, peer: SimPeer, public: bytes) -> None:
        """Close a pipe by one end's wish; both ends learn of it before anything else happens."""
        other = self._by_key[public]
        if self._network.close(peer.number, other.number):
            self.after(0, lambda: peer.handle(events.PeerDisconnected(other.public)))
            self.after(0, lambda: other.handle(events.PeerDisconnected(peer.public)))

    def died(self, peer: SimPeer, down_ms: int) -> None:
        """Break a dead peer's pipes after a while, and bring it back."""
        self.crashes += 1
        self.trace.add(self.now_ms, peer.number, "crash")
        for number in self._network.partners(peer.number):
            other = self.peers[number]
            self.after(DEATH_NOTICE_MS, lambda other=other: self.disconnect(other, peer.public))  # type: ignore[misc]
        down_ms = max(down_ms, 2 * DEATH_NOTICE_MS)
        self._calm_ms = max(self._calm_ms, self.now_ms + down_ms)
        self.after(down_ms, peer.start)

    def partners(self, peer: SimPeer) -> tuple[bytes, ...]:
        """Return whom a peer has a pipe with."""
        return tuple(self.peers[number].public for number in self._network.partners(peer.number))

    def send(self, peer: SimPeer, public: bytes, data: bytes, message: ControlMessage | None = None) -> None:
        """Carry a message over an open pipe; what is no message arrives as its sender's misdeed."""
        other = self._by_key[public]
        pipe = self._network.pipe(peer.number, other.number)
        if pipe is None:
            return

        def arrive() -> None:
            if self._network.pipe(peer.number, other.number) != pipe:
                return
            try:
                other.hear(peer.public, data, message or decode_control(data))
            except PeerFault as fault:
                other.handle(events.PeerMisbehaved(peer.public, fault))

        for delay_ms in self._network.delays(peer.number, other.number, self._virtual_ms()):
            self.after(delay_ms, arrive)

    def request(
        self,
        peer: SimPeer,
        public: bytes,
        ask: Callable[[SimPeer], T | None],
        answer: Callable[[T | None], None],
    ) -> None:
        """Ask another peer and call `answer`, with None where it has nothing or there is no way."""
        other = self._by_key[public]
        there = self._network.delays(peer.number, other.number, self._virtual_ms())
        if self._network.pipe(peer.number, other.number) is None or not other.is_up:
            peer.later(1, lambda: answer(None))
        elif not there:
            peer.later(REQUEST_TIMEOUT_MS, lambda: answer(None))
        else:
            back_ms = self._network.delay_ms(self._virtual_ms())
            peer.later(there[0] + back_ms, lambda: answer(ask(other) if other.is_up else None))

    def ask_blocks(self, peer: SimPeer, public: bytes, from_height: int) -> None:
        """Answer FetchBlocks."""
        self.request(
            peer,
            public,
            lambda other: other.serve_blocks(from_height),
            lambda blocks: peer.take_blocks(public, blocks or ()),
        )

    # What peers did

    def persisted(self, peer: SimPeer, record: SignRecord) -> None:
        if not peer.byzantine:
            self.checkers.persisted(peer.public, record)

    def speaks(self, peer: SimPeer, message: ControlMessage) -> None:
        if not peer.byzantine:
            self.checkers.speaks(peer.public, message, peer.node.state, peer.disk)

    def stored(self, peer: SimPeer, block: Block, state: ChainState) -> None:
        self.trace.add(self.now_ms, peer.number, f"block {block.header.value_id.hex()}")
        if not peer.byzantine:
            self._progress_ms = self.now_ms
            self.checkers.stored(peer.public, block, state)

    def blamed(self, peer: SimPeer, culprit: bytes, fault: PeerFault) -> None:
        self.blames.append((peer.number, culprit, fault))
        if not peer.byzantine:
            self.checkers.blamed(peer.public, culprit, fault)

    def found(self, peer: SimPeer, problem: str) -> None:
        """Note what is wrong with a peer's log; an empty text: nothing."""
        if problem and not peer.byzantine:
            self.checkers.broke(peer.public, problem)

    def halted(self, peer: SimPeer, reason: str) -> None:
        if not peer.byzantine:
            self.checkers.halted(peer.public, reason)

    def observed(self, peer: SimPeer, fact: Fact | Boast) -> None:
        self.facts.append((self._virtual_ms(), peer.number, fact))

    def _virtual_ms(self) -> int:
        """Return the time since the start, in which scenarios count."""
        return self.now_ms - START_MS

    def _last_fault_ms(self) -> int:
        ends = [partition.until_ms for partition in self.scenario.partitions]
        arrivals = [late.from_ms for late in self.scenario.late]
        return START_MS + max(self.scenario.heal_ms, *ends, *arrivals, 0)

    def _heights(self) -> tuple[int, ...]:
        return tuple(peer.disk.height for peer in self.peers)

    def _result(self) -> Result:
        final = self.checkers.final
        best = max(self.honest, key=lambda peer: peer.disk.height)
        state = best.disk.recover()[0]
        return Result(
            heights=self._heights(),
            decided=tuple(final[height][0] for height in sorted(final)),
            violations=tuple(self.checkers.violations),
            trace_hash=self.trace.digest(),
            events=self.trace.events,
            virtual_ms=self._virtual_ms(),
            crashes=self.crashes,
            accuracy=accuracy(session(0, self.scenario.peers), state) if state.model is not None else 0.0,
        )


def run(scenario: Scenario) -> Result:
    """Run a scenario to its end. The same one gives the same result, bit for bit."""
    return World(scenario).run()
