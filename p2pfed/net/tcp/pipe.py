"""One open pipe: control messages ahead of bulk, requests both ways, heartbeats, and one reason why it ended.

Four tasks share a pipe: one reads, one writes, one serves requests in order, one watches the clock. Whoever
finds that it is over calls `end`; the first reason stays.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol, TypeVar

from p2pfed.errors import MalformedMessage, OutOfBounds, PeerFault, RateExceeded
from p2pfed.net.limits import BULK_PIECE_BYTES, BULK_PIECE_BYTES_MAX, PIECE_MS, Limits
from p2pfed.net.tcp.frames import (
    REQUEST_ID_MAX,
    Frame,
    Kind,
    frame,
    read_frame,
    sentence_frame,
    sentence_of,
)
from p2pfed.net.tcp.stream import Stream
from p2pfed.net.transport import TransportError
from p2pfed.types.address import Multiaddr
from p2pfed.types.wire import RESPONSE_BYTES_MAX

T = TypeVar("T")

_LOG = logging.getLogger(__name__)
_ALIVE = frame(Kind.ALIVE)


class _Pending:
    """A request of ours; without `waiter` the caller gave up, and the answer is thrown away."""

    __slots__ = ("pieces", "received", "waiter")

    def __init__(self, waiter: asyncio.Future[bytes]) -> None:
        self.waiter: asyncio.Future[bytes] | None = waiter
        self.pieces: list[bytes] = []
        self.received = 0


class PipeHandler(Protocol):
    """What a pipe needs of a `TransportHandler`."""

    async def message(self, peer: bytes, data: bytes) -> None: ...
    async def serve(self, peer: bytes, data: bytes) -> bytes: ...


class Pipe:
    """An authenticated connection to `peer`; it carries frames while `run` runs."""

    def __init__(
        self,
        stream: Stream,
        peer: bytes,
        *,
        address: Multiaddr,
        inbound: bool,
        handler: PipeHandler,
        on_end: Callable[[Pipe], None],
        limits: Limits,
        process: bytes = b"",
        dial: int = 0,
    ) -> None:
        self.peer = peer
        self.process = process  # Which life of the peer this is.
        self.dial = dial  # The dialer's count: of two pipes that one end dialled, the later has the larger.
        self.address = address
        self.inbound = inbound
        self.reason: str | None = None
        self.is_faulty = False  # It ended because of what the peer did.
        self._stream = stream
        self._handler = handler
        self._on_end = on_end
        self._limits = limits
        self._ended = asyncio.Event()
        self._is_lost = False  # The connection is gone, so there is nobody to say goodbye to.
        self._control: deque[bytes] = deque()
        self._control_bytes = 0
        self._bulk: deque[tuple[int, memoryview]] = deque()
        self._bulk_bytes = 0
        self._piece_bytes = BULK_PIECE_BYTES
        self._to_write = asyncio.Event()
        self._written = asyncio.Event()
        self._requests: deque[Frame] = deque()
        self._requested = asyncio.Event()
        self._in_flight = 0  # Requests of the peer whose answer is not written whole.
        self._pending: dict[int, _Pending] = {}
        self._slot_free = asyncio.Event()
        self._request_id = 0
        self._write_began: float | None = None
        self._is_handling = False

    # What the transport calls.

    def send(self, data: bytes) -> bool:
        """Queue a control message; False where the queue is full, which ends the pipe."""
        if self.reason is not None:
            return False
        if self._control_bytes + len(data) > self._limits.control_queue_bytes:
            self.end(f"too slow: {self._control_bytes} bytes of control messages wait for it")
            return False
        self._queue(frame(Kind.CONTROL, data))
        return True

    async def request(self, data: bytes) -> bytes:
        """Return the answer to `data`; the caller sets the deadline by cancelling.

        Raises:
            TransportError: The peer refused, or the pipe ended meanwhile.
        """
        while self.reason is None and len(self._pending) >= self._limits.requests_in_flight:
            self._slot_free.clear()
            await self._slot_free.wait()
        if self.reason is not None:
            raise TransportError(f"the pipe closed before the request: {self.reason}")
        self._request_id = self._request_id % REQUEST_ID_MAX + 1
        waiter: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        pending = self._pending[self._request_id] = _Pending(waiter)
        self._queue(frame(Kind.REQUEST, data, self._request_id))
        try:
            return await waiter
        finally:
            pending.waiter = None
            pending.pieces.clear()
            self._end_if_unanswered()

    def end(self, reason: str, *, is_lost: bool = False) -> None:
        """Close the pipe for `reason`; later calls change nothing. The tidying up is `run`'s."""
        if self.reason is not None:
            return
        self.reason = reason
        self._is_lost = is_lost
        self._ended.set()
        self._slot_free.set()
        for pending in self._pending.values():
            if pending.waiter is not None and not pending.waiter.done():
                pending.waiter.set_exception(TransportError(f"the pipe closed before the answer: {reason}"))
        self._on_end(self)

    async def run(self) -> None:
        """Carry frames until the pipe ends, then say why and close the connection."""
        try:
            async with asyncio.TaskGroup() as group:
                works = (self._read, self._write, self._serve, self._watch)
                tasks = [group.create_task(self._until_end(work)) for work in works]
                await self._ended.wait()
                for task in tasks:
                    task.cancel()
            if not self._is_lost:
                await self._part()
        finally:
            self.end("this peer failed")  # Reached with no reason only by a bug or a cancellation.
            await self._stream.abort()

    # The four tasks.

    async def _until_end(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work`; what a peer or a network can do to it ends the pipe, anything else is our own bug."""
        try:
            await work()
        except PeerFault as fault:
            self.is_faulty = self.reason is None
            self.end(f"{type(fault).__name__}: {fault}")
        except asyncio.IncompleteReadError:
            self.end("the connection ended without a goodbye", is_lost=True)
        except OSError as error:
            self.end(f"the connection broke: {error}", is_lost=True)

    async def _read(self) -> None:
        while True:
            received = await read_frame(self._stream.reader)
            match received.kind:
                case Kind.CONTROL:
                    self._is_handling = True
                    await _ours(self._handler.message(self.peer, received.data))
                    self._is_handling = False
                case Kind.REQUEST:
                    self._accept_request(received)
                case Kind.PIECE | Kind.LAST_PIECE | Kind.FAILED:
                    self._accept_answer(received)
                case Kind.ALIVE:
                    pass  # The stream noted that it heard something.
                case Kind.GOODBYE:
                    self.end(f"the peer closed it: {sentence_of(received.data)}", is_lost=True)
                    return
                case Kind.HELLO | Kind.PROOF:
                    raise MalformedMessage("a second hello")

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            is_bulk = not self._control
            if self._control:
                data = self._next_control()
            elif self._bulk:
                data = self._next_piece()
            else:
                self._to_write.clear()
                await self._to_write.wait()
                continue
            self._write_began = began = loop.time()
            await self._stream.write(data)
            self._write_began = None
            if is_bulk:
                self._fit_pieces((loop.time() - began) * 1000)
            self._written.set()

    async def _serve(self) -> None:
        """Answer one request after the other, so that what a slow reader makes us hold is bounded."""
        while True:
            if not self._requests:
                self._requested.clear()
                await self._requested.wait()
                continue
            if self._bulk_bytes > self._limits.bulk_queue_bytes:
                self._written.clear()
                await self._written.wait()
                continue
            asked = self._requests.popleft()
            try:
                answer = await _ours(self._handler.serve(self.peer, asked.data))
            except TransportError as error:
                self._fail(asked.id, str(error))
                continue
            if len(answer) > RESPONSE_BYTES_MAX:
                _LOG.error("an answer of %d bytes is not sent; at most %d", len(answer), RESPONSE_BYTES_MAX)
                self._fail(asked.id, f"the answer has {len(answer)} bytes; at most {RESPONSE_BYTES_MAX}")
                continue
            self._bulk.append((asked.id, memoryview(answer)))
            self._bulk_bytes += len(answer)
            self._to_write.set()

    async def _watch(self) -> None:
        loop, interval = asyncio.get_running_loop(), self._limits.heartbeat_ms / 1000
        while True:
            self._queue(_ALIVE)
            before = loop.time()
            await asyncio.sleep(interval)
            now = loop.time()
            if self._is_handling or now - before > 2 * interval:
                self._stream.heard_now()  # We were the ones that did not listen (or were stopped).
            silence_ms = (now - self._stream.heard_at) * 1000
            if silence_ms >= self._limits.silence_ms:
                self.end(f"silent for {silence_ms:.0f} ms", is_lost=True)
            elif self._write_began is not None and (now - self._write_began) * 1000 >= self._limits.stall_ms:
                self.end(f"it took none of our bytes for {self._limits.stall_ms} ms", is_lost=True)

    # Their steps.

    def _queue(self, data: bytes) -> None:
        self._control.append(data)
        self._control_bytes += len(data)
        self._to_write.set()

    def _fail(self, request_id: int, why: str) -> None:
        self._in_flight -= 1
        self._queue(sentence_frame(Kind.FAILED, why, request_id))

    def _fit_pieces(self, took_ms: float) -> None:
        """Cut larger pieces where they leave at once, smaller ones where a vote would wait behind them."""
        if took_ms <= PIECE_MS:
            self._piece_bytes = min(2 * self._piece_bytes, BULK_PIECE_BYTES_MAX)
        else:
            self._piece_bytes = max(self._piece_bytes // 2, BULK_PIECE_BYTES)

    def _next_control(self) -> bytes:
        """Return what waits, in one go: small messages cost a record of TLS and a call of the system each."""
        frames = [self._control.popleft()]
        size = len(frames[0])
        while self._control and size + len(self._control[0]) <= BULK_PIECE_BYTES:
            frames.append(self._control.popleft())
            size += len(frames[-1])
        self._control_bytes -= size
        return frames[0] if len(frames) == 1 else b"".join(frames)

    def _next_piece(self) -> bytes:
        request_id, rest = self._bulk[0]
        piece, rest = rest[: self._piece_bytes], rest[self._piece_bytes :]
        self._bulk_bytes -= len(piece)
        if rest:
            self._bulk[0] = (request_id, rest)
            return frame(Kind.PIECE, piece, request_id)
        self._bulk.popleft()
        self._in_flight -= 1  # Before it is written: who has read the answer may ask again at once.
        return frame(Kind.LAST_PIECE, piece, request_id)

    def _accept_request(self, asked: Frame) -> None:
        if self._in_flight >= self._limits.requests_in_flight:
            raise RateExceeded(f"more than {self._limits.requests_in_flight} requests in flight")
        self._in_flight += 1
        self._requests.append(asked)
        self._requested.set()

    def _accept_answer(self, received: Frame) -> None:
        pending = self._pending.get(received.id)
        if pending is None:
            raise MalformedMessage(f"an answer to request {received.id}, which waits for none")
        if received.kind is Kind.PIECE and not received.data:
            raise MalformedMessage("an empty piece of an answer")
        pending.received += len(received.data)
        if pending.received > RESPONSE_BYTES_MAX:
            raise OutOfBounds(f"an answer of more than {RESPONSE_BYTES_MAX} bytes")
        waiter = pending.waiter
        if waiter is not None:
            pending.pieces.append(received.data)
        if received.kind is Kind.PIECE:
            return
        del self._pending[received.id]
        self._slot_free.set()
        if waiter is None or waiter.done():
            return
        if received.kind is Kind.FAILED:
            waiter.set_exception(TransportError(f"the peer refused: {sentence_of(received.data)}"))
        else:
            waiter.set_result(b"".join(pending.pieces))

    def _end_if_unanswered(self) -> None:
        """End the pipe where callers gave up on every request in flight: a new pipe starts afresh."""
        abandoned = sum(pending.waiter is None for pending in self._pending.values())
        if abandoned >= self._limits.requests_in_flight:
            self.end(f"left {abandoned} requests unanswered")

    async def _part(self) -> None:
        """Flush what was said before the end, say goodbye, and close, all within `close_ms`."""
        assert self.reason is not None
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(self._limits.close_ms / 1000):
                while self._control:
                    await self._stream.write(self._next_control())
                await _say_goodbye(self._stream, self.reason)


async def refuse(stream: Stream, why: str, limits: Limits) -> None:
    """Say why there will be no pipe, and close, within `close_ms`."""
    with suppress(OSError):
        async with asyncio.timeout(limits.close_ms / 1000):
            await _say_goodbye(stream, why)


async def _say_goodbye(stream: Stream, why: str) -> None:
    await stream.write(sentence_frame(Kind.GOODBYE, why))
    await stream.close()


async def _ours(call: Awaitable[T]) -> T:
    """Await the handler; an OSError of its own must not pass for one of the connection."""
    try:
        return await call
    except OSError as error:
        raise RuntimeError(f"the handler of a transport failed: {error}") from error
