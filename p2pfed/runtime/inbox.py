"""Where everything that happens becomes an event: the transport's handler and the node's one queue."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from p2pfed.errors import PeerFault
from p2pfed.node.events import Event, MessageReceived, PeerConnected, PeerDisconnected, PeerMisbehaved
from p2pfed.primitives.digest import sha256
from p2pfed.runtime.traffic import Traffic
from p2pfed.types.address import Multiaddr
from p2pfed.types.wire import decode_control

# Peers' messages that wait for the node. Then their pipes are not read: back-pressure, not memory.
MESSAGES_WAITING_MAX = 1024
# ... of one peer: so a vote of another waits behind a few ms of a flood.
MESSAGES_WAITING_PER_PEER_MAX = 64

Server = Callable[[bytes, bytes], Awaitable[bytes]]


class Inbox:
    """The queue of one node. Our own answers always fit; peers' messages wait for a place."""

    def __init__(self, traffic: Traffic | None = None) -> None:
        self._traffic = traffic or Traffic()
        # With a message, the places of its sender, one of which is free again when it is taken.
        self._queue: asyncio.Queue[tuple[Event, asyncio.Semaphore | None]] = asyncio.Queue()
        self._places = asyncio.Semaphore(MESSAGES_WAITING_MAX)
        self._places_of: dict[bytes, asyncio.Semaphore] = {}  # Of each peer with a pipe.
        self._server: Server | None = None

    def serve_with(self, server: Server) -> None:
        """Answer bulk requests with `server` from now on."""
        self._server = server

    def put(self, event: Event) -> None:
        """Queue an event of our own."""
        self._queue.put_nowait((event, None))

    async def get(self) -> Event:
        """Return the next event."""
        event, own_places = await self._queue.get()
        if own_places is not None:
            own_places.release()
            self._places.release()
        return event

    # The transport's handler

    def connected(self, peer: bytes, address: Multiaddr | None, *, inbound: bool) -> None:
        self._places_of[peer] = asyncio.Semaphore(MESSAGES_WAITING_PER_PEER_MAX)
        self.put(PeerConnected(peer, None if inbound else address))

    def disconnected(self, peer: bytes, reason: str) -> None:  # noqa: ARG002 - the transport logs it
        self._places_of.pop(peer, None)
        self.put(PeerDisconnected(peer))

    async def message(self, peer: bytes, data: bytes) -> None:
        """Queue a message as soon as there is a place for it.

        Raises:
            PeerFault: It is none. The pipe ends at once: the node bans its sender when it comes to that.
        """
        self._traffic.add("in", data)
        try:
            message = decode_control(data)
        except PeerFault as fault:
            self.put(PeerMisbehaved(peer, fault))
            raise
        own_places = self._places_of.get(peer)
        if own_places is None:
            return  # Its pipe has just ended.
        await own_places.acquire()
        try:
            await self._places.acquire()
        except asyncio.CancelledError:  # The pipe ended meanwhile; one more message of it may still wait.
            own_places.release()
            raise
        event = MessageReceived(peer, message, len(data), sha256(data))
        self._queue.put_nowait((event, own_places))

    async def serve(self, peer: bytes, data: bytes) -> bytes:
        assert self._server is not None
        self._traffic.add("in", data)
        answer = await self._server(peer, data)
        self._traffic.add("out", answer)
        return answer
