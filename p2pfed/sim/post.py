"""Messages and pulls of simulated peers under way: what is made once of what many receive."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct

from p2pfed.errors import PeerFault
from p2pfed.node import events
from p2pfed.node.events import Event
from p2pfed.primitives import codec
from p2pfed.primitives.digest import sha256
from p2pfed.sim.bulk import REQUEST_TIMEOUT_MS
from p2pfed.sim.network import Network
from p2pfed.sim.trace import summary
from p2pfed.sim.transcript import kind_of
from p2pfed.types.wire import ControlMessage, Digest, PeerRecords, decode_control

if TYPE_CHECKING:
    from p2pfed.sim.peer import SimPeer
    from p2pfed.sim.world import World

T = TypeVar("T")

LETTERS_MAX = 1 << 14  # Messages kept decoded; a forgotten one is decoded again.
ANSWER_BYTES = 1_000  # An answer whose size nobody counts: a manifest, a light block.
REQUEST_BYTES = 100  # A pull's question, or an answer that there is nothing.
GARBAGE = "garbage"  # The kind of bytes that are no message.


class Letter(Struct, frozen=True):
    """A message as all hear it: its bytes, what a receiver reads in them, and their id."""

    data: bytes
    message: ControlMessage
    message_id: bytes


NOTHING = Letter(b"", PeerRecords(()), b"")


class _Flight(Struct, frozen=True):
    """What one peer sends to some at once: the sender's pipes, the bytes, and what each is told of them."""

    pipes: Mapping[int, int]
    size: int
    message_id: bytes
    event: Event
    summary: str


class _Pull(Struct, frozen=True):
    """A question from `asker` to `holder` under way."""

    asker: SimPeer
    holder: SimPeer
    started_ms: int
    ask: Callable[[SimPeer], object]
    answer: Callable[[object], None]
    size: Callable[[object], int]


class Post:
    """Carries what peers send over the pipes of `network`.

    messages, message_bytes: What arrived, pulls included.
    duplicates: Messages that came to a peer after it had heard the very same.
    """

    def __init__(self, world: World, network: Network) -> None:
        self.messages = self.message_bytes = self.duplicates = 0
        self._world = world
        self._agenda = world.agenda
        self._network = network
        self._letters: dict[bytes, Letter] = {}
        self._letter_of: dict[int, Letter] = {}  # By the identity of its message, which it keeps alive.
        self._written: tuple[ControlMessage | None, Letter] = (None, NOTHING)  # The last message encoded.

    def letter(self, message: ControlMessage) -> Letter:
        """Return a message as its receivers find it: encoded and decoded once for all who pass it on."""
        known = self._letter_of.get(id(message))
        if known is not None and known.message is message:
            return known
        if message is self._written[0]:  # One digest is told to several peers, each by a Send of its own.
            return self._written[1]
        data = codec.encode(message)
        letter = self._letters.get(data)
        if letter is None:
            read, message_id = decode_control(data), sha256(data)
            if isinstance(message, PeerRecords | Digest):  # Nobody passes these on, so they are not kept.
                # Who learns an equal record keeps the same one: thousands of copies fill a memory.
                letter = Letter(data, message if message == read else read, message_id)
            else:
                letter = Letter(data, read, message_id)
                self._keep(letter)
        self._written = (message, letter)
        return letter

    def _keep(self, letter: Letter) -> None:
        if len(self._letters) >= LETTERS_MAX:
            self._letters.clear()
            self._letter_of.clear()
        self._letters[letter.data] = self._letter_of[id(letter.message)] = letter

    def send(self, peer: SimPeer, publics: tuple[bytes, ...], letter: Letter) -> None:
        """Carry a message to these peers, as far as pipes lead to them."""
        received = events.MessageReceived(peer.public, letter.message, len(letter.data), letter.message_id)
        pipes = self._network.pipes(peer.number)
        kind, size = kind_of(letter.message), len(letter.data)
        self._launch(
            peer, publics, _Flight(pipes, size, letter.message_id, received, summary(received)), kind
        )

    def send_bytes(self, peer: SimPeer, publics: tuple[bytes, ...], data: bytes) -> None:
        """Carry whatever a liar says; what is no message arrives as its misdeed."""
        event: Event
        message_id = sha256(data)
        try:
            event = events.MessageReceived(peer.public, decode_control(data), len(data), message_id)
        except PeerFault as fault:
            event = events.PeerMisbehaved(peer.public, fault)
        pipes = self._network.pipes(peer.number)
        self._launch(peer, publics, _Flight(pipes, len(data), message_id, event, summary(event)), GARBAGE)

    def _launch(self, peer: SimPeer, publics: tuple[bytes, ...], flight: _Flight, kind: str) -> None:
        sender, size, pipes = peer.number, flight.size, flight.pipes
        peers, numbers = self._world.peers, self._world.numbers
        delays, after, at_ms = self._network.delays, self._agenda.after, self._world.virtual_ms
        for public in publics:
            receiver = numbers[public]
            pipe = pipes.get(receiver)
            if pipe is not None:
                for delay_ms in delays(sender, receiver, kind, size, at_ms):
                    after(delay_ms, partial(self._land, flight, peers[receiver], pipe))

    def _land(self, flight: _Flight, other: SimPeer, pipe: int) -> None:
        """Hand over what came, unless its pipe is closed by now."""
        if flight.pipes.get(other.number) != pipe:
            return
        self.messages += 1
        self.message_bytes += flight.size
        if flight.message_id in other.heard:
            self.duplicates += 1
        else:
            other.heard.add(flight.message_id)
        other.handle(flight.event, flight.summary)

    def request(
        self,
        asker: SimPeer,
        public: bytes,
        ask: Callable[[SimPeer], T | None],
        answer: Callable[[T | None], None],
        size: Callable[[T], int] = lambda _: ANSWER_BYTES,
    ) -> None:
        """Ask another peer and call `answer`, with None where it has nothing or there is no way."""
        world = self._world
        holder = world.peers[world.numbers[public]]
        if holder.number not in self._network.pipes(asker.number) or not holder.is_up:
            asker.later(1, partial(answer, None))
            return
        there = self._network.delays(asker.number, holder.number, "bulk", REQUEST_BYTES, world.virtual_ms)
        pull = _Pull(asker, holder, world.now_ms, ask, answer, size)  # type: ignore[arg-type]
        delay_ms = there[0] + world.pause_ms(holder) if there else REQUEST_TIMEOUT_MS
        if delay_ms < REQUEST_TIMEOUT_MS:
            asker.later(delay_ms, partial(self._reach, pull))
        else:
            self._give_up(pull)

    def _reach(self, pull: _Pull) -> None:
        """The question is there: let the answer go back."""
        asker, holder, now_ms = pull.asker, pull.holder, self._agenda.now_ms
        found = pull.ask(holder) if holder.is_up else None
        bulk_bytes = REQUEST_BYTES if found is None else pull.size(found)
        self.messages += 1
        self.message_bytes += bulk_bytes
        at_ms = self._world.virtual_ms
        back = self._network.delays(holder.number, asker.number, "bulk", bulk_bytes, at_ms)
        if back and now_ms + back[0] <= pull.started_ms + REQUEST_TIMEOUT_MS:
            asker.later(back[0], partial(pull.answer, found))
        else:
            self._give_up(pull)

    def _give_up(self, pull: _Pull) -> None:
        wait_ms = max(0, pull.started_ms + REQUEST_TIMEOUT_MS - self._agenda.now_ms)
        pull.asker.later(wait_ms, partial(pull.answer, None))
