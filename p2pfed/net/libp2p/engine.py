"""Trio's side of the transport: listeners, dials, and which connection is the pipe of a key.

Between two keys there is one pipe. A newer one replaces an older one, so a restarted peer is never locked out
by its own ghost. Where both ends dial at once, the dial of the smaller key stays: while its hello is on the
way, that end refuses the other's, and the end with the larger key gives up its own when a hello comes in. A
pipe counts for the one dialled only when the dialler has confirmed it, so a dial given up replaces nothing.
"""

from __future__ import annotations

import errno
import os
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import trio

from p2pfed.net.handshakes import HandshakeRates
from p2pfed.net.libp2p import frames
from p2pfed.net.libp2p.connection import Connection, Owner
from p2pfed.net.libp2p.limits import TLS_HANDSHAKE_BYTE
from p2pfed.net.libp2p.raw_stream import RawStream
from p2pfed.net.libp2p.upgrade import Upgrader
from p2pfed.net.limits import Limits
from p2pfed.types.address import Multiaddr, peer_id

_LISTEN_REMEDIES = {
    errno.EADDRINUSE: "it is in use; stop the other program or choose another port",
    errno.EADDRNOTAVAIL: "this machine has no such address; 0.0.0.0 listens on all IPv4, :: on all",
    errno.EACCES: "that is not allowed; choose a port above 1023",
}


class DialFailed(Exception):
    """A dial made no pipe; the text is one clause."""


class ListenFailed(Exception):
    """We can't listen there; the text says why and what to do."""


class Engine:
    """Everything of the transport that runs on Trio; each method is called in Trio's thread."""

    def __init__(
        self, *, secret: bytes, public: bytes, chain_id: bytes, limits: Limits, owner: Owner
    ) -> None:
        self._public, self._chain_id, self._limits, self._owner = public, chain_id, limits, owner
        self._upgrader = Upgrader(secret, public)
        self._listening: list[Multiaddr] = []
        self._connections: set[Connection] = set()
        self._per_host: Counter[str] = Counter()
        self._handshakes = HandshakeRates(limits)
        self._pipes: dict[bytes, Connection] = {}
        self._greeting: dict[bytes, Connection] = {}  # The one connection of a key whose hello is on the way.
        self._pipe_opened = trio.lowlevel.ParkingLot()
        self._serial = 0
        self.nursery: trio.Nursery | None = None

    async def run(self, started: Callable[[], None]) -> None:
        """Run until `stop`; calls `started` when it can be used."""
        async with trio.open_nursery() as self.nursery:
            started()
            await trio.sleep_forever()

    async def stop(self) -> None:
        """Say goodbye to every peer and end all that runs."""
        assert self.nursery is not None
        self._listening.clear()
        connections = list(self._connections)
        for connection in connections:
            connection.part("this peer stops")
        for connection in connections:
            await connection.closed.wait()
        self.nursery.cancel_scope.cancel()

    async def listen(self, host: str, port: int) -> int:
        """Accept connections and return the port.

        Raises:
            ListenFailed: The port is in use or the address is not ours.
        """
        assert self.nursery is not None
        try:
            listeners = await trio.open_tcp_listeners(port, host=host)
            port = int(listeners[0].socket.getsockname()[1])
            if host == "::":  # Trio keeps it to IPv6.
                listeners += await trio.open_tcp_listeners(port, host="0.0.0.0")  # noqa: S104 - asked for
        except OSError as error:
            why = _LISTEN_REMEDIES.get(error.errno or 0, error.strerror or str(error))
            raise ListenFailed(f"can't listen on {place(Multiaddr(host, port))}: {why}") from None
        self.nursery.start_soon(trio.serve_listeners, self._accept, listeners)
        self._listening.append(Multiaddr(host, port))
        return port

    async def dial(self, address: Multiaddr) -> bytes:
        """Open a pipe and return the peer's key.

        Raises:
            DialFailed: Refused, or another key, chain, version or transport.
        """
        assert self.nursery is not None
        if len(self._connections) >= self._limits.pipes:
            raise DialFailed(f"{self._limits.pipes} connections are open")
        self._serial += 1
        began = self._serial
        try:
            stream = await trio.open_tcp_stream(address.host, address.port)
            connection = self._connection(stream, address, is_initiator=True)
        except OSError as error:
            raise DialFailed(f"not reached: {_clause(error)}") from None
        self.nursery.start_soon(self._run, connection, partial(self._greet, address.public, began))
        try:
            await connection.settled.wait()
        finally:
            if not connection.is_pipe:
                connection.end("the dial was given up")
        if connection.is_superseded:
            with trio.move_on_after(self._limits.handshake_ms / 1000):
                while not self._has_pipe_since(connection.peer, began):
                    await self._pipe_opened.park()
        if connection.is_pipe or self._has_pipe_since(connection.peer, began):
            return connection.peer
        raise DialFailed(connection.reason)

    def _has_pipe_since(self, peer: bytes, began: int) -> bool:
        pipe = self._pipes.get(peer)
        return pipe is not None and pipe.opened_serial > began

    async def _accept(self, stream: trio.SocketStream) -> None:
        try:
            host, port = stream.socket.getpeername()[:2]
        except OSError:
            await trio.aclose_forcefully(stream)
            return
        is_crowded = self._per_host[host] >= self._limits.pipes_per_address
        if is_crowded or self._per_host.total() >= self._limits.pipes:
            await trio.aclose_forcefully(stream)
            return
        self._per_host[host] += 1
        try:
            await self._attend(stream, Multiaddr(host, port))
        finally:
            self._per_host[host] -= 1
            if not self._per_host[host]:
                del self._per_host[host]

    async def _attend(self, stream: trio.SocketStream, address: Multiaddr) -> None:
        """Look at the first byte without taking it: libp2p is a pipe to be, TLS a side channel."""
        first = b""
        with trio.move_on_after(self._limits.handshake_ms / 1000), suppress(OSError):
            first = await stream.socket.recv(1, socket.MSG_PEEK)
        if first == bytes((TLS_HANDSHAKE_BYTE,)):
            # Its owner counts it from here on: of each pipe there may be one.
            self._owner.accepted_tls(socket.socket(fileno=stream.socket.detach()), address)
        elif first and self._handshakes.take(address.host):
            try:
                connection = self._connection(stream, address, is_initiator=False)
            except OSError:  # It left meanwhile.
                await trio.aclose_forcefully(stream)
                return
            await self._run(connection, self._welcome)
        else:
            await trio.aclose_forcefully(stream)

    def _connection(self, stream: trio.SocketStream, address: Multiaddr, *, is_initiator: bool) -> Connection:
        return Connection(
            RawStream(stream, is_initiator=is_initiator, stall_s=self._limits.stall_ms / 1000),
            address,
            limits=self._limits,
            upgrader=self._upgrader,
            owner=self._owner,
            listening=lambda: self._listening,
        )

    async def _run(self, connection: Connection, greet: Callable[[Connection], object]) -> None:
        self._connections.add(connection)
        try:
            await connection.run(greet)  # type: ignore[arg-type]
        finally:
            self._connections.discard(connection)
            if self._pipes.get(connection.peer) is connection:
                del self._pipes[connection.peer]
            if connection.is_pipe:
                self._owner.closed(connection)

    # The two sides of the greeting.

    async def _greet(self, expected: bytes | None, began: int, connection: Connection) -> None:
        """As the dialler: say hello, check the answer, confirm."""
        peer = connection.peer
        if expected is not None and peer != expected:
            connection.end(f"it proves the key of {peer_id(peer)}, not that of {peer_id(expected)}")
            return
        if peer == self._public:
            connection.end("it is ourselves")
            return
        while (other := self._greeting.get(peer)) is not None:
            await other.settled.wait()
        if self._has_pipe_since(peer, began):
            connection.is_superseded = True
            return
        self._greeting[peer] = connection
        try:
            await connection.open_control(frames.hello_frame(self._chain_id))
            kind, payload = await connection.hear()
            if kind == frames.GOODBYE:
                connection.is_superseded = frames.sentence_of(payload) == frames.CROSSED
                connection.end(f"it refused: {frames.sentence_of(payload)}")
            elif kind != frames.HELLO:
                connection.end("it answered our hello with something else")
            elif reason := frames.refusal(payload, self._chain_id):
                await connection.refuse(reason)
            else:
                await connection.say(frames.frame(frames.CONFIRM, frames.TAKES_OFFER))
                self._make_pipe(connection)
        finally:
            self._leave_greeting(connection)

    async def _welcome(self, connection: Connection) -> None:
        """As the one dialled: hear a hello, answer, and wait for the confirmation."""
        await connection.wait_for_control()
        peer = connection.peer
        kind, payload = await connection.hear()
        reason = frames.refusal(payload, self._chain_id) if kind == frames.HELLO else "it said no hello"
        if reason:
            # Our hello comes first, so that the dialler can name both values that disagree.
            await connection.say(frames.hello_frame(self._chain_id))
            await connection.refuse(reason)
            return
        other = self._greeting.get(peer)
        if other is not None and not other.is_inbound and self._public < peer:
            await connection.refuse(frames.CROSSED)
            return
        if other is not None:
            other.is_superseded = True
            other.end(frames.CROSSED)
        self._greeting[peer] = connection
        try:
            await connection.say(frames.hello_frame(self._chain_id))
            kind, payload = await connection.hear()
            if kind == frames.CONFIRM:
                connection.takes_offer = payload == frames.TAKES_OFFER
                self._make_pipe(connection)
            else:
                connection.end("it did not confirm its hello")
        finally:
            self._leave_greeting(connection)

    def _leave_greeting(self, connection: Connection) -> None:
        if self._greeting.get(connection.peer) is connection:
            del self._greeting[connection.peer]

    def _make_pipe(self, connection: Connection) -> None:
        older = self._pipes.get(connection.peer)
        if older is not None:
            older.part("a newer pipe with the same key replaces it")
        self._serial += 1
        connection.opened_serial = self._serial
        connection.is_pipe = True
        self._pipes[connection.peer] = connection
        self._owner.opened(connection)
        connection.settled.set()
        self._pipe_opened.unpark_all()


def place(address: Multiaddr) -> str:
    """Return `host:port`, as a person writes it."""
    return f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"


def _clause(error: BaseException) -> str:
    """Return the operating system's words; Trio wraps the errors of several addresses into one."""
    while error.__cause__ is not None:
        error = error.__cause__
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    number = error.errno if isinstance(error, OSError) else None
    return (os.strerror(number) if number is not None and number > 0 else str(error)).lower()
