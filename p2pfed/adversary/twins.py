"""One key that runs twice: each of the two is honest, together they are not."""

from __future__ import annotations

from collections.abc import Iterator

from p2pfed.adversary.base import Adversary, Effects, Means
from p2pfed.adversary.effects import AdversaryEffect
from p2pfed.node import effects, events
from p2pfed.node.effects import Effect
from p2pfed.node.events import Event, Timer
from p2pfed.node.node import Node

FIRST, SECOND = 0, 1
# What only the first one does: there is one disk, one log, one set of pipes.
_ONLY_FIRST = (
    effects.Persist, effects.Append, effects.SyncLog, effects.StorePolkas, effects.RememberPeers,
    effects.Dial, effects.Observe, effects.Blame,
)  # fmt: skip


class Twins(Adversary):
    """Two nodes behind one set of pipes: the members of the first half meet one of them, the rest the other.

    Friends, and whoever is no member, hear both and are heard by both.
    """

    kind = "twins"

    def __init__(self, means: Means) -> None:
        super().__init__(means)
        node = means.node
        second = Node(key=means.key, state=node.state, last_commit=node.last_commit, record=node.hand.record)
        self.twins = (node, second)
        self._timers: list[tuple[int, int, Timer]] = []  # (due, whose, timer)
        self._builders: list[tuple[int, int, int]] = []  # (height, round, whose)
        self._stored = node.state.height
        self._trained = -1
        self._connected: set[bytes] = set()
        self._boasted = 0

    def step(self, event: Event, now_ms: int) -> Effects:
        if isinstance(event, events.PeerConnected):
            self._connected.add(event.peer)
        elif isinstance(event, events.PeerDisconnected):
            self._connected.discard(event.peer)
        done: list[Effect | AdversaryEffect] = []
        for whose in self._hearers(event):
            for effect in self.twins[whose].step(event, now_ms):
                done += self._let(effect, whose, now_ms)
        height = self.node.state.next_height
        if height > self._boasted:
            self._boasted = height
            done.append(self.boast(height, "runs twice"))
        return tuple(done)

    def _hearers(self, event: Event) -> tuple[int, ...]:
        """Return which of the two are told."""
        match event:
            case (
                events.PeerConnected()
                | events.PeerDisconnected()
                | events.MessageReceived()
                | events.PeerMisbehaved()
                | events.BlocksFetched()
            ):
                return self._sides(event.peer)
            case events.TimerFired():
                waiting = [entry for entry in self._timers if entry[2] == event.timer]
                if not waiting:
                    return ()
                self._timers.remove(min(waiting, key=lambda entry: entry[:2]))
                return (min(waiting, key=lambda entry: entry[:2])[1],)
            case events.ProposalBuilt():
                asked = [entry for entry in self._builders if entry[:2] == (event.height, event.round)]
                if not asked:
                    return ()
                self._builders.remove(asked[0])
                return (asked[0][2],)
            case events.DialFailed():
                return (FIRST,)
        return FIRST, SECOND

    def _sides(self, peer: bytes) -> tuple[int, ...]:
        friends = {self.key.public, *self.colluders}
        genesis = self.node.state.genesis
        others = [one.key for one in genesis.participants if one.key not in friends]
        if peer not in others:
            return FIRST, SECOND
        return (FIRST,) if 2 * others.index(peer) < len(others) else (SECOND,)

    def _let(self, effect: Effect, whose: int, now_ms: int) -> Iterator[Effect]:
        """Yield what is carried out of what one of the two asks for."""
        if (whose == SECOND and isinstance(effect, _ONLY_FIRST)) or isinstance(effect, effects.Halt):
            return
        match effect:
            case effects.Send():
                peers = tuple(peer for peer in effect.peers if whose in self._sides(peer))
                if peers:
                    yield effects.Send(peers, effect.message)
            case effects.ScheduleTimeout():
                self._timers.append((now_ms + effect.delay_ms, whose, effect.timer))
                yield effect
            case effects.BuildProposal():
                self._builders.append((effect.state.next_height, effect.round, whose))
                yield effect
            case effects.StoreBlock():
                if effect.block.header.height == self._stored + 1:
                    self._stored += 1
                    yield effect
            case effects.Train():
                if effect.base_height > self._trained:
                    self._trained = effect.base_height
                    yield effect
            case effects.Dial():
                if not any(address.public in self._connected for address in effect.addresses):
                    yield effect
            case _:
                yield effect
