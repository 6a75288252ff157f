"""The transport `libp2p` as its asyncio owner sees it; py-libp2p runs on Trio in one thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from logging import getLogger
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from p2pfed.errors import LocalError, OutOfBounds, PeerFault
from p2pfed.net.libp2p import LIBP2P_MISSING
from p2pfed.net.libp2p.library import load_lightly
from p2pfed.net.limits import DEFAULT_LIMITS, Limits
from p2pfed.net.transport import TransportError, TransportHandler
from p2pfed.primitives.keys import PrivateKey
from p2pfed.types.address import Multiaddr, peer_id, short_id
from p2pfed.types.params import CONTROL_BYTES_MAX
from p2pfed.types.wire import REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX

if TYPE_CHECKING:
    import socket

    from p2pfed.net.libp2p.connection import Answer, Connection
    from p2pfed.net.libp2p.side import SideChannel

_LOG = getLogger(__name__)


class Libp2pTransport:
    """Pipes over noise and yamux. See `p2pfed.net.transport.Transport` for what each method promises.

    Everything that Trio tells arrives on the owner's loop in the order in which it happened, so which pipes
    are open is decided in one thread and only mirrored here.
    """

    name = "libp2p"

    def __init__(
        self, *, key: PrivateKey, chain_id: bytes, handler: TransportHandler, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        load_lightly()
        try:
            from p2pfed.net.libp2p.side import SideDoor
            from p2pfed.net.libp2p.trio_thread import TrioThread
        except ImportError as error:
            raise LocalError(f"{LIBP2P_MISSING} ({error})") from None
        self._handler = handler
        self._limits = limits
        self._pipes: dict[bytes, _Pipe] = {}
        self._thread = TrioThread(key=key, chain_id=chain_id, limits=limits, transport=self)
        self._side_door = SideDoor(limits)
        self._is_closed = False

    async def listen(self, host: str, port: int) -> int:
        assert not self._is_closed
        engine = await self._thread.start()
        return await self._thread.call(lambda: engine.listen(host, port))

    async def dial(self, address: Multiaddr, *, timeout_ms: int) -> bytes:
        from p2pfed.net.libp2p.engine import DialFailed, place

        where = place(address)
        if self._is_closed:
            raise TransportError("this transport is closed")
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                engine = await self._thread.start()
                return await self._thread.call(lambda: engine.dial(address))
        except TimeoutError:
            raise TransportError(f"{where} did not answer within {timeout_ms} ms") from None
        except DialFailed as failed:
            raise TransportError(f"{where}: {failed}") from None

    def send(self, peer: bytes, data: bytes) -> bool:
        if len(data) > CONTROL_BYTES_MAX:
            raise OutOfBounds(f"a control message of {len(data)} bytes; at most {CONTROL_BYTES_MAX}")
        pipe = self._pipes.get(peer)
        if pipe is None:
            return False
        waiting = pipe.connection.queued_bytes - pipe.connection.taken_bytes
        if waiting + len(data) > self._limits.control_queue_bytes:
            self.disconnect(peer, f"too slow: {waiting} bytes of control messages wait for it")
            return False
        pipe.send(data)
        return True

    async def request(self, peer: bytes, data: bytes, *, timeout_ms: int) -> bytes:
        from p2pfed.net.libp2p.stream import StreamGone

        if len(data) > REQUEST_BYTES_MAX:
            raise OutOfBounds(f"a request of {len(data)} bytes; at most {REQUEST_BYTES_MAX}")
        pipe = self._pipes.get(peer)
        if pipe is None:
            raise TransportError(f"no pipe to {peer_id(peer)}")
        connection = pipe.connection
        try:
            async with asyncio.timeout(timeout_ms / 1000), pipe.slots:
                answer = await pipe.side.request(data)
                if answer is not None:
                    return answer
                return await self._thread.call(lambda: connection.request(data), connection.start)
        except TimeoutError:
            raise TransportError(f"{peer_id(peer)} did not answer within {timeout_ms} ms") from None
        except StreamGone as gone:
            raise TransportError(f"no answer of {peer_id(peer)}: {pipe.reason or gone}") from None

    def disconnect(self, peer: bytes, reason: str) -> None:
        pipe = self._pipes.get(peer)
        if pipe is not None:
            self._thread.post(pipe.connection.part, reason)
            self._end(pipe, reason)

    def peers(self) -> Mapping[bytes, Multiaddr | None]:
        return {peer: pipe.address for peer, pipe in self._pipes.items()}

    async def close(self) -> None:
        self._is_closed = True
        for pipe in list(self._pipes.values()):
            self._end(pipe, "this peer stops")
        await self._thread.stop()
        await self._side_door.close()

    # What Trio tells, on the owner's loop.

    def opened(self, connection: Connection) -> None:
        """A connection became the pipe of its key."""
        older = self._pipes.get(connection.peer)
        if older is not None:
            self._end(older, "a newer pipe with the same key replaces it")
        if self._is_closed:
            return
        pipe = _Pipe(connection, self._limits, self, self._side_channel(connection))
        self._pipes[pipe.peer] = pipe
        if connection.takes_offer:
            pipe.send(self._side_door.offer(pipe.side), is_offer=True)
        _LOG.info("pipe to %s open", short_id(pipe.peer))
        self._handler.connected(pipe.peer, pipe.address, inbound=connection.is_inbound)

    def closed(self, connection: Connection) -> None:
        """A connection that was a pipe ended."""
        pipe = self._pipes.get(connection.peer)
        if pipe is None or pipe.connection is not connection:
            return
        if connection.is_ended_by_peer:
            # What it said before it left still counts, unless its owner takes too long to hear it.
            pipe.end_when_handled()
            asyncio.get_running_loop().call_later(self._limits.close_ms / 1000, self.end_handled, pipe)
        else:
            self._end(pipe, connection.reason)

    def message(self, connection: Connection, data: bytes) -> None:
        """A control message came in."""
        pipe = self._pipes.get(connection.peer)
        if pipe is not None and pipe.connection is connection:
            pipe.inbox.put_nowait(data)

    def serve(self, connection: Connection, data: bytes, answer: Answer) -> None:
        """A bulk request came in."""
        pipe = self._pipes.get(connection.peer)
        if pipe is not None and pipe.connection is connection:
            pipe.start(partial(self._answer, pipe, data, answer))

    def offered(self, connection: Connection, offer: bytes) -> None:
        """A peer that we dialled offers a side channel."""
        pipe = self._pipes.get(connection.peer)
        if pipe is not None and pipe.connection is connection:
            pipe.side.dial(connection.remote, offer)

    def accepted_tls(self, sock: socket.socket, address: Multiaddr) -> None:
        """Somebody speaks TLS on our port."""
        self._side_door.admit(sock, address)

    def _side_channel(self, connection: Connection) -> SideChannel:
        from p2pfed.net.libp2p.side import SideChannel

        peer = connection.peer

        def cut(reason: str) -> None:
            pipe = self._pipes.get(peer)
            if pipe is not None and pipe.connection is connection:
                self.disconnect(peer, reason)

        return SideChannel(self._side_door, peer, self._handler, cut)

    async def _answer(self, pipe: _Pipe, data: bytes, answer: Answer) -> None:
        is_answer = True
        try:
            reply = await self._handler.serve(pipe.peer, data)
        except TransportError as error:
            is_answer, reply = False, str(error).encode("ascii", "replace")
        if is_answer and len(reply) > RESPONSE_BYTES_MAX:
            _LOG.error("an answer of %d bytes is not sent; at most %d", len(reply), RESPONSE_BYTES_MAX)
            is_answer, reply = (
                False,
                f"the answer has {len(reply)} bytes; at most {RESPONSE_BYTES_MAX}".encode(),
            )
        self._thread.post(partial(answer.put, reply, is_answer=is_answer))

    async def handle(self, pipe: _Pipe, data: bytes) -> None:
        """Give a control message to the owner, and Trio room for another."""
        await self._handler.message(pipe.peer, data)
        pipe.connection.consumed_messages += 1
        pipe.connection.consumed_bytes += len(data)
        self._thread.post(pipe.connection.note_consumed)

    def wake(self, connection: Connection) -> None:
        """Tell Trio that something is queued."""
        self._thread.post(connection.note_queued)

    def end_handled(self, pipe: _Pipe) -> None:
        """Everything that was said on a pipe that its peer ended is handled, or time is up."""
        if self._pipes.get(pipe.peer) is pipe:
            self._end(pipe, pipe.connection.reason)

    def _end(self, pipe: _Pipe, reason: str) -> None:
        assert self._pipes.pop(pipe.peer) is pipe
        pipe.stop(reason)
        pipe.side.end(reason)
        _LOG.info("pipe to %s closed: %s", short_id(pipe.peer), reason)
        self._handler.disconnected(pipe.peer, reason)

    def crashed(self, error: BaseException) -> None:
        """Trio's thread ended by a bug of ours: every pipe is gone, and the loop's handler halts the host."""
        for pipe in list(self._pipes.values()):
            self._end(pipe, "this peer's transport failed")
        _report(error)


class _Pipe:
    """The asyncio half of a pipe: messages one after the other, requests beside each other."""

    def __init__(
        self, connection: Connection, limits: Limits, transport: Libp2pTransport, side: SideChannel
    ) -> None:
        self.connection = connection
        self.side = side
        self.peer: bytes = connection.peer
        seen = connection.address
        self.address = seen if connection.is_inbound else replace(seen, public=self.peer)
        self.reason = ""
        self.slots = asyncio.Semaphore(limits.requests_in_flight)
        # None: nothing follows. Trio bounds it: no more than INBOX_*_MAX ahead of what is consumed.
        self.inbox: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._transport = transport
        self._tasks: set[asyncio.Task[None]] = set()
        self.start(self._consume)

    def send(self, data: bytes, *, is_offer: bool = False) -> None:
        from p2pfed.net.libp2p.frames import MESSAGE, OFFER, frame

        framed = frame(OFFER if is_offer else MESSAGE, data)
        self.connection.queued_bytes += len(framed)
        self.connection.outbox.append(framed)
        self._transport.wake(self.connection)

    def start(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` until the pipe ends; a PeerFault in it ends the pipe.

        Its task calls it: a coroutine made here would stay unawaited where that is cancelled before it runs.
        """
        task = asyncio.ensure_future(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def end_when_handled(self) -> None:
        self.inbox.put_nowait(None)

    def stop(self, reason: str) -> None:
        self.reason = reason
        current = _current_task()
        for task in self._tasks:
            if task is not current:
                task.cancel()

    async def _consume(self) -> None:
        while not self.reason and (data := await self.inbox.get()) is not None:
            await self._transport.handle(self, data)
        self._transport.end_handled(self)

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except PeerFault as fault:
            if not self.reason:
                self._transport.disconnect(self.peer, f"{type(fault).__name__}: {fault}")

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _report(error)


def _current_task() -> asyncio.Task[Any] | None:
    with suppress(RuntimeError):
        return asyncio.current_task()
    return None


def _report(error: BaseException) -> None:
    """Hand an unexpected error to the loop's exception handler, where the host halts."""
    context = {"message": "a transport failed by our own bug", "exception": error}
    asyncio.get_running_loop().call_exception_handler(context)
