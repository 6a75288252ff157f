"""Spread peer records: greet a new pipe with all of them, push news at once, repair what was lost."""

from __future__ import annotations

from msgspec import Struct

from p2pfed.errors import PeerFault
from p2pfed.gossip.peers import PeerTable
from p2pfed.types.wire import PeerRecords

REFRESH_MS = 10_000  # Everything again to one peer after the other, in case a message was lost.


class Outgoing(Struct, frozen=True):
    """Messages for one peer."""

    peer: bytes
    messages: tuple[PeerRecords, ...]


class Received(Struct, frozen=True):
    """What a message of records brought: whether the table grew, what to forward, the sender's fault."""

    is_news: bool
    outgoing: tuple[Outgoing, ...]
    fault: PeerFault | None


class Exchange:
    """The discovery of one peer, around its table."""

    def __init__(self, table: PeerTable, chain_id: bytes) -> None:
        self._table = table
        self._chain_id = chain_id
        self._refresh_due_ms: int | None = None
        self._refreshed = b""  # The key of the peer that was refreshed last.

    def greet(self, peer: bytes) -> tuple[Outgoing, ...]:
        """Return what a newly connected peer is told: all records."""
        return _non_empty([Outgoing(peer, self._table.records_for(peer))])

    def receive(self, source: bytes, message: PeerRecords, now_ms: int) -> Received:
        """Take in the records that `source` sent and push what was new to the mesh.

        The records before a bad one count; the rest of the message is not looked at.
        """
        is_news, fault = False, None
        try:
            for record in message.records:
                is_news |= self._table.learn(record, self._chain_id, source=source, now_ms=now_ms)
        except PeerFault as caught:
            fault = caught
        return Received(is_news, self.push() if is_news else (), fault)

    def push(self) -> tuple[Outgoing, ...]:
        """Return the news for a few peers, to nobody what it told us itself; also after `table.set_own`."""
        targets = self._table.few_targets() + self._table.connected_observers()
        return _non_empty([Outgoing(peer, self._table.news_for(peer)) for peer in targets])

    def tick(self, now_ms: int) -> tuple[Outgoing, ...]:
        """Return the news for everyone whom no push reached, and now and then everything for one peer."""
        peers = self._table.connected_peers()
        if self._refresh_due_ms is None:
            self._refresh_due_ms = now_ms + REFRESH_MS
        refreshed = None
        if peers and now_ms >= self._refresh_due_ms:
            self._refresh_due_ms = now_ms + REFRESH_MS
            refreshed = next((peer for peer in peers if peer > self._refreshed), peers[0])
            self._refreshed = refreshed
        return _non_empty(
            [
                Outgoing(
                    peer, self._table.records_for(peer) if peer == refreshed else self._table.news_for(peer)
                )
                for peer in peers
            ]
        )


def _non_empty(outgoing: list[Outgoing]) -> tuple[Outgoing, ...]:
    return tuple(item for item in outgoing if item.messages)
