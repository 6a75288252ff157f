"""The `memory` transport: pipes between peers of one process, over links that a test can cut or freeze."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Mapping
from itertools import count
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from p2pfed.errors import LocalError, OutOfBounds, PeerFault
from p2pfed.net.limits import DEFAULT_LIMITS, Limits
from p2pfed.net.tasks import raise_in_loop
from p2pfed.net.transport import TransportError, TransportHandler
from p2pfed.primitives.keys import PrivateKey
from p2pfed.types.address import Multiaddr, peer_id
from p2pfed.types.params import CONTROL_BYTES_MAX
from p2pfed.types.wire import REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX


class MemoryNetwork:
    """The wires between the transports that it made."""

    def __init__(self) -> None:
        self.listeners: dict[tuple[str, int], MemoryTransport] = {}
        self.ports = count(40_000)
        self._transports: list[MemoryTransport] = []
        self._cut: set[frozenset[bytes]] = set()
        self._frozen: set[bytes] = set()

    def transport(
        self, *, key: PrivateKey, chain_id: bytes, handler: TransportHandler, limits: Limits = DEFAULT_LIMITS
    ) -> MemoryTransport:
        """Return a transport on this network."""
        transport = MemoryTransport(self, key, chain_id, handler, limits)
        self._transports.append(transport)
        return transport

    def cut(self, first: bytes, second: bytes) -> None:
        """Break the pipe between two peers and refuse new ones until `mend`."""
        self._cut.add(frozenset((first, second)))
        for transport in self._transports:
            if transport.public == first and second in transport.pipes:
                transport.pipes[second].sever("the link was cut")

    def mend(self, first: bytes, second: bytes) -> None:
        """Let two peers dial each other again."""
        self._cut.discard(frozenset((first, second)))

    def freeze(self, peer: bytes) -> None:
        """Carry nothing to or from `peer`, as if its process were stopped; noticed after `silence_ms`."""
        self._frozen.add(peer)
        loop = asyncio.get_running_loop()
        for transport in self._transports:
            for other, pipe in transport.pipes.items():
                if peer in (other, transport.public):
                    silence_ms = transport.limits.silence_ms
                    loop.call_later(silence_ms / 1000, pipe.end, f"silent for {silence_ms} ms")

    def is_cut(self, first: bytes, second: bytes) -> bool:
        """Answer whether `cut` parts these two."""
        return frozenset((first, second)) in self._cut

    def is_frozen(self, *peers: bytes) -> bool:
        """Answer whether one of `peers` is frozen."""
        return any(peer in self._frozen for peer in peers)


class _Pipe:
    """One end of a pipe. What the other end sends waits in `_inbox` and `_asked` for our two tasks."""

    def __init__(self, owner: MemoryTransport, peer: bytes, address: Multiaddr) -> None:
        self.owner = owner
        self.peer = peer
        self.address = address
        self.other: _Pipe
        self.is_open = True
        self._inbox: deque[bytes] = deque()
        self._inbox_bytes = 0
        self._goodbye: str | None = None
        self._asked: deque[_Asked] = deque()
        self._has_mail = asyncio.Event()
        self._has_question = asyncio.Event()
        self._to_ask: deque[_Asked] = deque()  # Our requests beyond those that may be in flight.
        self._in_flight: list[_Asked] = []
        self._tasks = (owner.start(self._read()), owner.start(self._serve()))

    def send(self, data: bytes) -> bool:
        """Put `data` into the other end's inbox; where it is full the pipe ends."""
        other = self.other
        if other._inbox_bytes + len(data) > self.owner.limits.control_queue_bytes:
            self.end(f"too slow: {other._inbox_bytes} bytes of control messages wait for it")
            return False
        if not self._is_frozen():
            other._inbox.append(data)
            other._inbox_bytes += len(data)
            other._has_mail.set()
        return True

    async def request(self, data: bytes) -> bytes:
        """Return the other end's answer; at most `requests_in_flight` are asked at once."""
        asked = _Asked(data, asyncio.get_running_loop().create_future())
        self._to_ask.append(asked)
        self._ask()
        try:
            return await asked.waiter
        finally:
            for waiting in (self._to_ask, self._in_flight):
                if asked in waiting:
                    waiting.remove(asked)
            self._ask()

    def end(self, reason: str) -> None:
        """Close this end for `reason`; the other hears it after what was sent before."""
        if self._close(reason) and not self._is_frozen():
            self.other._goodbye = f"the peer closed it: {reason}"
            self.other._has_mail.set()

    def sever(self, reason: str) -> None:
        """Close both ends at once; what is under way is lost."""
        self._close(reason)
        self.other._close(reason)

    def _close(self, reason: str) -> bool:
        if not self.is_open:
            return False
        self.is_open = False
        for task in self._tasks:
            task.cancel()
        for asked in (*self._in_flight, *self._to_ask):
            if not asked.waiter.done():
                asked.waiter.set_exception(TransportError(f"the pipe closed before the answer: {reason}"))
        self.owner.forget(self, reason)
        return True

    def _is_frozen(self) -> bool:
        return self.owner.network.is_frozen(self.owner.public, self.peer)

    def _ask(self) -> None:
        while self._to_ask and self.is_open and len(self._in_flight) < self.owner.limits.requests_in_flight:
            asked = self._to_ask.popleft()
            self._in_flight.append(asked)
            if not self._is_frozen():
                self.other._asked.append(asked)
                self.other._has_question.set()

    async def _read(self) -> None:
        while True:
            while self._inbox:
                data = self._inbox.popleft()
                self._inbox_bytes -= len(data)
                try:
                    await self.owner.handler.message(self.peer, data)
                except PeerFault as fault:
                    self.end(f"{type(fault).__name__}: {fault}")
            if self._goodbye is not None:
                self._close(self._goodbye)
            self._has_mail.clear()
            await self._has_mail.wait()

    async def _serve(self) -> None:
        while True:
            while self._asked:
                asked = self._asked.popleft()
                try:
                    answer = await self.owner.handler.serve(self.peer, asked.data)
                    if len(answer) > RESPONSE_BYTES_MAX:
                        raise TransportError(f"{len(answer)} bytes; at most {RESPONSE_BYTES_MAX}")
                except TransportError as error:
                    asked.answer(TransportError(f"the peer refused: {error}"), self._is_frozen())
                except PeerFault as fault:
                    self.end(f"{type(fault).__name__}: {fault}")
                else:
                    asked.answer(answer, self._is_frozen())
            self._has_question.clear()
            await self._has_question.wait()


class _Asked(Struct, frozen=True, eq=False):
    """A request on its way, with the future that its caller awaits."""

    data: bytes
    waiter: asyncio.Future[bytes]

    def answer(self, answer: bytes | TransportError, is_frozen: bool) -> None:
        """Give the caller its answer, unless it gave up or nothing is carried."""
        if self.waiter.done() or is_frozen:
            return
        if isinstance(answer, bytes):
            self.waiter.set_result(answer)
        else:
            self.waiter.set_exception(answer)


class MemoryTransport:
    """Pipes in one process. See `p2pfed.net.transport.Transport` for what each method promises."""

    name = "memory"

    def __init__(
        self,
        network: MemoryNetwork,
        key: PrivateKey,
        chain_id: bytes,
        handler: TransportHandler,
        limits: Limits,
    ) -> None:
        self.network = network
        self.public = key.public
        self.chain_id = chain_id
        self.handler = handler
        self.limits = limits
        self.pipes: dict[bytes, _Pipe] = {}
        self._address = Multiaddr("127.0.0.1", next(network.ports))  # Where its dials are seen from.
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self, host: str, port: int) -> int:
        port = port or next(self.network.ports)
        if (host, port) in self.network.listeners:
            raise LocalError(f"can't listen on {host}:{port}: it is in use; choose another port")
        self.network.listeners[host, port] = self
        return port

    async def dial(self, address: Multiaddr, *, timeout_ms: int) -> bytes:
        where = f"{address.host}:{address.port}"
        await asyncio.sleep(0)  # Let others run, as a real dial does.
        target = self.network.listeners.get((address.host, address.port))
        if target is None or self.network.is_cut(self.public, target.public):
            raise TransportError(f"{where} was not reached: connection refused")
        if self.network.is_frozen(self.public, target.public):
            await asyncio.sleep(timeout_ms / 1000)
            raise TransportError(f"{where} did not answer within {timeout_ms} ms")
        if target.chain_id != self.chain_id:
            raise TransportError(
                f"{where} belongs to the network {target.chain_id.hex()[:16]}, "
                f"this peer to {self.chain_id.hex()[:16]}"
            )
        if address.public is not None and target.public != address.public:
            raise TransportError(f"{where} is {peer_id(target.public)}, expected {peer_id(address.public)}")
        if target.public == self.public:
            raise TransportError(f"{where} has this peer's own key {peer_id(self.public)}")
        self._join(target, replace(address, public=target.public))
        return target.public

    def send(self, peer: bytes, data: bytes) -> bool:
        if len(data) > CONTROL_BYTES_MAX:
            raise OutOfBounds(f"a control message of {len(data)} bytes; at most {CONTROL_BYTES_MAX}")
        pipe = self.pipes.get(peer)
        return pipe is not None and pipe.send(data)

    async def request(self, peer: bytes, data: bytes, *, timeout_ms: int) -> bytes:
        if len(data) > REQUEST_BYTES_MAX:
            raise OutOfBounds(f"a request of {len(data)} bytes; at most {REQUEST_BYTES_MAX}")
        pipe = self.pipes.get(peer)
        if pipe is None:
            raise TransportError(f"no pipe to {peer_id(peer)}")
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                return await pipe.request(data)
        except TimeoutError:
            raise TransportError(f"{peer_id(peer)} did not answer within {timeout_ms} ms") from None

    def disconnect(self, peer: bytes, reason: str) -> None:
        pipe = self.pipes.get(peer)
        if pipe is not None:
            pipe.end(reason)

    def peers(self) -> Mapping[bytes, Multiaddr | None]:
        return {peer: pipe.address for peer, pipe in self.pipes.items()}

    async def close(self) -> None:
        listeners = self.network.listeners
        for place in [place for place, listener in listeners.items() if listener is self]:
            del listeners[place]
        for pipe in list(self.pipes.values()):
            pipe.end("this peer stops")
        while self._tasks:
            await asyncio.wait(self._tasks)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a pipe's task; `close` waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(raise_in_loop)
        return task

    def forget(self, pipe: _Pipe, reason: str) -> None:
        """Drop a closed pipe and tell the handler."""
        if self.pipes.get(pipe.peer) is pipe:
            del self.pipes[pipe.peer]
            self.handler.disconnected(pipe.peer, reason)

    def _join(self, target: MemoryTransport, address: Multiaddr) -> None:
        """Open both ends at once, in place of those that stand: simultaneous dials can't disagree here."""
        for standing in (self.pipes.get(target.public), target.pipes.get(self.public)):
            if standing is not None:
                standing.sever("replaced by a newer pipe of the same key")
        ours, theirs = _Pipe(self, target.public, address), _Pipe(target, self.public, self._address)
        ours.other, theirs.other = theirs, ours
        self.pipes[target.public], target.pipes[self.public] = ours, theirs
        target.handler.connected(self.public, theirs.address, inbound=True)
        self.handler.connected(target.public, ours.address, inbound=False)
