"""Repair what pushes lost: tell a few peers what we hold, answer their digests, and not too soon or often."""

from __future__ import annotations

from collections.abc import Iterable

from p2pfed.chain.state import ChainState
from p2pfed.node.digesting import Settled, digest_of, expected, lacking, lacking_to_follow
from p2pfed.node.doppelganger import Doppelganger
from p2pfed.node.height import HeightWork
from p2pfed.node.neighbours import Neighbours
from p2pfed.types.certificate import CommitCert
from p2pfed.types.wire import ControlMessage, Digest

GOSSIP_MS = 500  # Digests repair what pushes lost; a lost vote costs this and a flight at most.


class Repair:
    """The digests of one peer. `flight_ms`: how long a push may be on its way (consensus.timeouts)."""

    def __init__(self, neighbours: Neighbours, twin: Doppelganger, flight_ms: int) -> None:
        self._neighbours = neighbours
        self._twin = twin
        self._flight_ms = flight_ms
        self._settled = Settled(flight_ms)
        self._greeted_ms: dict[bytes, int] = {}  # When the pipe to this peer was opened.
        self._answered_ms: dict[bytes, int] = {}  # When a digest of this peer was last answered.
        self._block_ms = 0  # When the newest block was final here, by votes that others get as well.

    def greet(
        self,
        peer: bytes,
        state: ChainState,
        work: HeightWork | None,
        words: Iterable[ControlMessage],
        now_ms: int,
    ) -> None:
        """Tell a newly connected peer what we hold and our own `words`: they were pushed without it."""
        self._greeted_ms[peer] = now_ms
        for message in (self._digest(state, work), *words):
            self._neighbours.tell(peer, message)

    def tell(self, state: ChainState, work: HeightWork | None, now_ms: int) -> None:
        """Tell a few peers what we hold."""
        digest = self._digest(state, work)
        self._settled.note(digest, now_ms)
        for peer in self._neighbours.table.digest_targets():
            self._neighbours.tell(peer, digest)

    def tell_members(self, state: ChainState, work: HeightWork | None) -> None:
        """Tell every connected member."""
        digest = self._digest(state, work)
        for peer in self._neighbours.table.connected_members():
            self._neighbours.tell(peer, digest)

    def answer(
        self,
        peer: bytes,
        digest: Digest,
        state: ChainState,
        work: HeightWork | None,
        last_commit: CommitCert | None,
        now_ms: int,
    ) -> None:
        """Send a peer at our height or below what it lacks, but for what is on its way to it.

        Raises:
            MalformedMessage: The digest is not one of this height.
        """
        if now_ms - self._answered_ms.get(peer, -GOSSIP_MS) < GOSSIP_MS // 4:
            return  # Answers are larger than digests: they are not given as fast as anyone asks.
        is_next = digest.height == state.height
        if is_next and now_ms - self._block_ms < self._flight_ms:
            return  # The votes that made our block are on their way there.
        if digest.height == state.next_height and now_ms - self._greeted_ms.get(peer, 0) < self._flight_ms:
            return  # Everybody greets it with its own words; what it lacks then, a later digest says.
        self._answered_ms[peer] = now_ms
        ours = self._digest(state, work)
        if digest.height < state.next_height:
            self._neighbours.tell(peer, ours)
            if is_next and last_commit is not None:
                self._neighbours.tell(peer, last_commit)
        elif work is not None:
            for message in self._lacking(peer, digest, work, now_ms):
                self._neighbours.tell(peer, message)
            self._settled.note(ours, now_ms)

    def _lacking(self, peer: bytes, digest: Digest, work: HeightWork, now_ms: int) -> list[ControlMessage]:
        if not self._neighbours.table.is_member(peer):
            return lacking_to_follow(work, digest)
        return lacking(work, expected(work, digest, self._settled.held(work.height, now_ms)))

    def decided(self, now_ms: int) -> None:
        """Note that a block has just become final here."""
        self._block_ms = now_ms

    def _digest(self, state: ChainState, work: HeightWork | None) -> Digest:
        return digest_of(state, work, is_listening=self._twin.is_listening)

    def forget(self, peer: bytes) -> None:
        self._answered_ms.pop(peer, None)
        self._greeted_ms.pop(peer, None)
