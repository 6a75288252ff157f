"""Where everything that happens becomes an event: the transport's handler and the node's one queue."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from p2pfed.errors import PeerFault
from p2pfed.node.events import Event, MessageReceived, PeerConnected, PeerDisconnected, PeerMisbehaved
from p2pfed.primitives.digest import sha256
from p2pfed.runtime.traffic import Traffic
from p2pfed.types.address import Multiaddr
from p2pfed.types.params import KIB
from p2pfed.types.wire import decode_control

# Peers' messages that wait for the node. Then their pipes are not read: back-pressure, not memory.
MESSAGES_WAITING_MAX = 1024
# ... of one peer: so a vote of another waits behind a few ms of a flood.
MESSAGES_WAITING_PER_PEER_MAX = 64
# So many of them may be larger than this: 48 MiB in all, where 1,024 of the largest would be 256.
LARGE_MESSAGES_WAITING_MAX = 64
LARGE_BYTES = 32 * KIB

Server = Callable[[bytes, bytes], Awaitable[bytes]]


class Inbox:
    """The queue of one node. Our own answers always fit; peers' messages wait for a place."""

    def __init__(self, traffic: Traffic | None = None) -> None:
        self._traffic = traffic or Traffic()
        # With a message, what it holds a place of until it is taken.
        self._queue: asyncio.Queue[tuple[Event, tuple[asyncio.Semaphore, ...]]] = asyncio.Queue()
        self._places = asyncio.Semaphore(MESSAGES_WAITING_MAX)
        self._large_places = asyncio.Semaphore(LARGE_MESSAGES_WAITING_MAX)
        self._places_of: dict[bytes, asyncio.Semaphore] = {}  # Of each peer with a pipe.
        self._server: Server | None = None

    def serve_with(self, server: Server) -> None:
        """Answer bulk requests with `server` from now on."""
        self._server = server

    def put(self, event: Event) -> None:
        """Queue an event of our own."""
        self._queue.put_nowait((event, ()))

    async def get(self) -> Event:
        """Return the next event."""
        event, held = await self._queue.get()
        _release(held)
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
        large = (self._large_places,) if len(data) > LARGE_BYTES else ()
        held = await _acquire((own_places, *large, self._places))
        event = MessageReceived(peer, message, len(data), sha256(data))
        self._queue.put_nowait((event, held))

    async def serve(self, peer: bytes, data: bytes) -> bytes:
        assert self._server is not None
        self._traffic.add("in", data)
        answer = await self._server(peer, data)
        self._traffic.add("out", answer)
        return answer


async def _acquire(places: tuple[asyncio.Semaphore, ...]) -> tuple[asyncio.Semaphore, ...]:
    """Return when each of them has given a place, or none is held: the pipe ended meanwhile."""
    for count, each in enumerate(places):
        try:
            await each.acquire()
        except asyncio.CancelledError:
            _release(places[:count])
            raise
    return places


def _release(places: tuple[asyncio.Semaphore, ...]) -> None:
    for each in places:
        each.release()
