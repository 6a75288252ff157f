"""Accept connections: count them per host, look at the first byte, and hand TLS ones on."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from p2pfed.errors import LocalError
from p2pfed.net.handshakes import HandshakeRates
from p2pfed.net.limits import Limits
from p2pfed.net.tasks import raise_in_loop
from p2pfed.net.tcp.dialer import MULTISTREAM_FIRST_BYTE, TLS_FIRST_BYTE, place
from p2pfed.types.address import Multiaddr

_LOG = logging.getLogger(__name__)
_BACKLOG = 128  # Waiting in the kernel; a cluster that starts at once fits.
_MAPPED = "::ffff:"  # How a socket of both families spells an address of IPv4.
_ACCEPT_PAUSE_S = 0.5  # Out of file descriptors: wait for some to be closed rather than spin.

# It must not begin with 0x13, or a tcp dialer that probes this port would take it for libp2p.
WRONG_TRANSPORT = b"this peer speaks tcp (TLS 1.3), you speak libp2p: `transport` in genesis names one\n"

Serve = Callable[[socket.socket, Multiaddr], Coroutine[Any, Any, None]]


class Doorkeeper:
    """Lets connections in as long as limits allow; `serve` runs in a task for each and owns its socket."""

    def __init__(self, serve: Serve, limits: Limits) -> None:
        self._serve = serve
        self._limits = limits
        self._per_host: Counter[str] = Counter()
        self._handshakes = HandshakeRates(limits)
        self._tasks: set[asyncio.Task[None]] = set()

    def admit(self, sock: socket.socket, address: Multiaddr) -> None:
        """Serve a connected socket, or close it where its host, or all of them, have too many."""
        if self._is_full_for(address.host) or not self._handshakes.take(address.host):
            _LOG.info("refused %s: too many connections", place(address))
            sock.close()
            return
        self._per_host[address.host] += 1
        task = asyncio.get_running_loop().create_task(self._serve(sock, address))
        self._tasks.add(task)
        task.add_done_callback(partial(self._forget, address.host))

    async def close(self) -> None:
        """End every connection's task."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _is_full_for(self, host: str) -> bool:
        is_host_full = self._per_host[host] >= self._limits.pipes_per_address
        return is_host_full or len(self._tasks) >= self._limits.pipes

    def _forget(self, host: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._per_host[host] -= 1
        if not self._per_host[host]:
            del self._per_host[host]
        raise_in_loop(task)


class Listener:
    """A listening socket; TLS connections are handed to `serve`."""

    def __init__(self, sock: socket.socket, serve: Serve, limits: Limits) -> None:
        self.port: int = sock.getsockname()[1]
        self._sock = sock
        self._serve = serve
        self._limits = limits
        self._door = Doorkeeper(self._greet, limits)
        self._accepting = asyncio.get_running_loop().create_task(self._accept())
        self._accepting.add_done_callback(raise_in_loop)

    async def close(self) -> None:
        """Stop accepting, end every connection's task, close the socket."""
        self._accepting.cancel()
        await asyncio.gather(self._accepting, return_exceptions=True)
        await self._door.close()
        self._sock.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, peername = await loop.sock_accept(self._sock)
            except OSError as error:
                _LOG.warning("a connection was not accepted: %s", error)
                await asyncio.sleep(_ACCEPT_PAUSE_S)
                continue
            self._door.admit(sock, Multiaddr(peername[0].removeprefix(_MAPPED), peername[1]))

    async def _greet(self, sock: socket.socket, address: Multiaddr) -> None:
        """Look at the first byte without taking it: TLS goes on, anything else is told and closed."""
        try:
            async with asyncio.timeout(self._limits.handshake_ms / 1000):
                first = await _peek(sock)
        except OSError:
            first = b""
        except asyncio.CancelledError:
            sock.close()
            raise
        if first == bytes((TLS_FIRST_BYTE,)):
            await self._serve(sock, address)
            return
        if first == bytes((MULTISTREAM_FIRST_BYTE,)):
            _LOG.info("refused %s: it speaks libp2p, this network tcp", place(address))
            _tell(sock, WRONG_TRANSPORT)
        else:
            _LOG.info("refused %s: its first byte is %s, not TLS", place(address), first.hex() or "missing")
        sock.close()


async def open_listener(host: str, port: int, serve: Serve, limits: Limits) -> Listener:
    """Return a listener on `host` (address or name) and `port` (0: the system chooses).

    Raises:
        LocalError: The port is in use, or the address is not ours.
    """
    where = place(Multiaddr(host, port))
    try:
        try:  # An address needs no resolver, and so no thread of the loop's executor.
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except socket.gaierror:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        hint = "; a port is given by --port" if host.count(":") == 1 else ""
        raise LocalError(f"the name {host} to listen on was not found: {error.strerror}{hint}") from None
    family, _, _, _, sockaddr = found[0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and sockaddr[0] == "::":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # All addresses, those of IPv4 too.
        sock.bind(sockaddr)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        remedy = {
            errno.EADDRINUSE: "it is in use; stop the other program or choose another port",
            errno.EADDRNOTAVAIL: "this machine has no such address; 0.0.0.0 listens on all IPv4, :: on all",
            errno.EACCES: "that is not allowed; choose a port above 1023",
        }.get(error.errno or 0, error.strerror)
        raise LocalError(f"can't listen on {where}: {remedy}") from None
    sock.setblocking(False)
    return Listener(sock, serve, limits)


async def _peek(sock: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(sock, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(sock)
    return sock.recv(1, socket.MSG_PEEK)


def _tell(sock: socket.socket, sentence: bytes) -> None:
    """Write a sentence if it fits at once, and take what came, so that closing does not reset it."""
    try:
        sock.send(sentence)
        sock.shutdown(socket.SHUT_WR)
        sock.recv(4096)
    except OSError:
        return
