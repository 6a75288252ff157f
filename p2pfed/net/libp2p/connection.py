"""One socket from its handshake to its end, on Trio: control stream, bulk streams, heartbeat.

Counters that asyncio and Trio share have one writer each, so no lock is needed: asyncio writes `queued_bytes`
and the `consumed_*`, Trio writes `taken_bytes` and the `_posted_*`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import trio

from p2pfed.net.libp2p import frames, identify
from p2pfed.net.libp2p.limits import (
    ANSWERS_AT_ONCE,
    BULK_UNSENT_BYTES,
    CONTROL_UNSENT_BYTES,
    FRAME_BYTES_MAX,
    INBOX_BYTES_MAX,
    INBOX_MESSAGES_MAX,
    STREAMS_SPARE,
)
from p2pfed.net.libp2p.raw_stream import RawStream
from p2pfed.net.libp2p.stream import Stream, StreamGone
from p2pfed.net.libp2p.upgrade import (
    UpgradeFailed,
    Upgrader,
    accept_protocol,
    accept_stream,
    open_stream,
    run_muxer,
)
from p2pfed.net.limits import Limits
from p2pfed.types.address import Multiaddr

if TYPE_CHECKING:
    import socket

    from trio import CancelScope, Nursery

PROTOCOLS = (frames.CONTROL, frames.BULK, identify.PROTOCOL)


class Answer:
    """The place where asyncio puts the answer to a request, or a sentence why there is none."""

    def __init__(self) -> None:
        self._is_here = trio.Event()
        self._frame = b""

    def put(self, data: bytes, *, is_answer: bool) -> None:
        """Run by Trio."""
        self._frame = frames.answer(data, is_answer=is_answer)
        self._is_here.set()

    async def wait(self) -> bytes:
        await self._is_here.wait()
        return self._frame


class Owner(Protocol):
    """The asyncio side, called from Trio's thread; none of these waits."""

    def opened(self, connection: Connection) -> None: ...
    def closed(self, connection: Connection) -> None: ...
    def message(self, connection: Connection, data: bytes) -> None: ...
    def serve(self, connection: Connection, data: bytes, answer: Answer) -> None: ...
    def offered(self, connection: Connection, offer: bytes) -> None: ...
    def accepted_tls(self, sock: socket.socket, address: Multiaddr) -> None: ...


class Connection:
    """A socket that becomes a pipe when `greet` says so."""

    def __init__(
        self,
        raw: RawStream,
        address: Multiaddr,
        *,
        limits: Limits,
        upgrader: Upgrader,
        owner: Owner,
        listening: Callable[[], list[Multiaddr]],
    ) -> None:
        self.address = address
        self.is_inbound = not raw.is_initiator
        self.peer = b""
        self.reason = ""
        self.is_ended_by_peer = False
        self.is_pipe = False
        self.is_superseded = False  # Another pipe to the same peer took its place before it was one.
        self.opened_serial = 0
        self.takes_offer = False  # The dialler knows what an offer of a side channel is.
        self.settled = trio.Event()  # It is a pipe, or never will be.
        self.closed = trio.Event()
        self.outbox: deque[bytes] = deque()
        self.queued_bytes = self.taken_bytes = 0
        self.consumed_messages = self.consumed_bytes = 0
        self._posted_messages = self._posted_bytes = 0
        self._raw, self._limits, self._upgrader, self._owner = raw, limits, upgrader, owner
        self._listening = listening
        self._stall_s = limits.stall_ms / 1000
        self._is_offered = False
        self._control: Stream | None = None
        self._is_read = False  # Somebody reads the control stream, and so hears of the end.
        self._control_is_open = trio.Event()
        self._muxer: Any = None
        self._inbound_streams = 0
        self._answers_bytes = 0
        self._answering = trio.Semaphore(ANSWERS_AT_ONCE)
        self._room = trio.lowlevel.ParkingLot()
        self._has_outgoing = trio.Event()
        self._goodbye: bytes | None = None
        self._scope: CancelScope = trio.CancelScope()
        self._nursery: Nursery | None = None

    @property
    def remote(self) -> Multiaddr:
        """Where the socket leads to, as an address and not as a name."""
        return Multiaddr(*self._raw.get_remote_address())

    async def run(self, greet: Callable[[Connection], Awaitable[None]]) -> None:
        """Shake hands, let `greet` make it a pipe, and carry that until it ends; `reason` says why it did."""
        try:
            with self._scope:
                async with trio.open_nursery() as self._nursery:
                    self._nursery.start_soon(self._drain)
                    with trio.move_on_after(self._limits.handshake_ms / 1000) as deadline:
                        await self._shake_hands(greet)
                    if deadline.cancelled_caught:
                        self.end(f"no handshake within {self._limits.handshake_ms} ms")
                    if self.is_pipe:
                        for task in (self._read_control, self._write_control, self._watch_silence):
                            self._nursery.start_soon(task)
                    else:
                        self.end("refused")
        finally:
            self._nursery = None
            with trio.CancelScope(shield=True):
                await self._raw.close()
            self.settled.set()
            self.closed.set()

    def end(self, reason: str, *, by_peer: bool = False) -> None:
        """End at once; the first reason stays. `by_peer`: it left, so what it said before still counts."""
        if not self.reason:
            self.reason, self.is_ended_by_peer = reason, by_peer
        self._scope.cancel()

    def part(self, reason: str) -> None:
        """Say goodbye, then end: within the limit, whether the peer listens or not."""
        if self._nursery is None or not self.is_pipe:
            self.end(reason)
        elif self._goodbye is None:
            self.reason = self.reason or reason
            self._goodbye = frames.goodbye_frame(reason)
            self._has_outgoing.set()
            self.start(partial(self._end_late, reason))

    async def _end_late(self, reason: str) -> None:
        await trio.sleep(self._limits.close_ms / 1000)
        self.end(reason)

    def _lose(self, reason: str) -> None:
        """The connection is gone; whoever reads the control stream reads to its end, and then ends this."""
        if not self._is_read or not self._raw.is_cut:
            self.end(reason)

    async def _drain(self) -> None:
        is_stalled = await self._raw.drain()
        if is_stalled:
            self.end(self._raw.failure)
        self._lose(self._raw.failure)

    async def _shake_hands(self, greet: Callable[[Connection], Awaitable[None]]) -> None:
        assert self._nursery is not None
        try:
            self.peer, self._muxer = await self._upgrader.upgrade(self._raw)
            self._nursery.start_soon(self._run_muxer)
            self._nursery.start_soon(self._accept)
            await greet(self)
        except (UpgradeFailed, StreamGone) as gone:
            self.end(str(gone))

    async def _run_muxer(self) -> None:
        await run_muxer(self._muxer)
        self._lose(self._raw.failure or "it closed the connection")

    # What `greet` needs.

    async def open_control(self, hello: bytes) -> None:
        """As the dialler: open the control stream and say hello."""
        self._is_read = True
        self._control = await open_stream(
            self._muxer, self._raw, frames.CONTROL, hello, stall_s=self._stall_s
        )

    async def wait_for_control(self) -> None:
        """As the one dialled: wait for the control stream."""
        await self._control_is_open.wait()

    async def say(self, data: bytes) -> None:
        """Send a frame of the greeting."""
        assert self._control is not None
        await self._control.write(data, unsent_bytes=CONTROL_UNSENT_BYTES)

    async def hear(self) -> tuple[int, bytes]:
        """Return the next frame of the greeting."""
        assert self._control is not None
        return await frames.read_frame(self._control)

    async def refuse(self, reason: str) -> None:
        """Say why there will be no pipe."""
        self.reason = self.reason or reason
        await self.say(frames.goodbye_frame(reason))
        with trio.move_on_after(self._limits.close_ms / 1000):
            await self._raw.finish()

    # The control plane.

    async def _read_control(self) -> None:
        try:
            while True:
                kind, payload = await self.hear()
                if kind == frames.MESSAGE:
                    await self._until_inbox_has_room()
                    self._posted_messages += 1
                    self._posted_bytes += len(payload)
                    self._owner.message(self, payload)
                elif kind == frames.GOODBYE:
                    self.end(f"it said goodbye: {frames.sentence_of(payload)}", by_peer=True)
                elif kind == frames.OFFER:
                    self._take_offer(payload)
                elif kind != frames.ALIVE:
                    self.end(f"it sent a control frame of the unknown kind {kind}")
        except StreamGone as gone:
            self.end(str(gone), by_peer=True)

    def _take_offer(self, offer: bytes) -> None:
        if self.is_inbound or self._is_offered or len(offer) != frames.OFFER_BYTES:
            self.end("it made an offer of a side channel that is malformed or out of place")
            return
        self._is_offered = True
        self._owner.offered(self, offer)

    async def _until_inbox_has_room(self) -> None:
        while (
            self._posted_messages - self.consumed_messages >= INBOX_MESSAGES_MAX
            or self._posted_bytes - self.consumed_bytes >= INBOX_BYTES_MAX
        ):
            await self._room.park()

    def note_consumed(self) -> None:
        """The owner consumed a message (run by Trio)."""
        self._room.unpark_all()

    def note_queued(self) -> None:
        """The owner queued a message (run by Trio)."""
        self._has_outgoing.set()

    async def _write_control(self) -> None:
        try:
            while self._goodbye is None or self.outbox:
                if not self.outbox:
                    with trio.move_on_after(self._limits.heartbeat_ms / 1000):
                        await self._has_outgoing.wait()
                    self._has_outgoing = trio.Event()
                batch = self._take()
                await self.say(batch or frames.frame(frames.ALIVE))
                self.taken_bytes += len(batch)
            await self.say(self._goodbye)
            await self._raw.finish()
            self.end(self.reason)
        except StreamGone as gone:
            if not self._raw.failure:
                self.end(str(gone))  # The control stream alone is gone.

    def _take(self) -> bytes:
        """Return queued frames that fit one piece together: many votes, one encryption."""
        pieces: list[bytes] = []
        size = 0
        while self.outbox and (not pieces or size + len(self.outbox[0]) <= FRAME_BYTES_MAX):
            pieces.append(self.outbox.popleft())
            size += len(pieces[-1])
        return b"".join(pieces)

    async def _watch_silence(self) -> None:
        silence_s, heartbeat_s = self._limits.silence_ms / 1000, self._limits.heartbeat_ms / 1000
        while True:
            deadline = self._raw.heard_at + silence_s
            await trio.sleep_until(deadline)
            if trio.current_time() > deadline + heartbeat_s:
                # We were stopped ourselves: what the peer said meanwhile is not read yet.
                self._raw.heard_at = trio.current_time()
            elif self._raw.heard_at + silence_s <= deadline:
                self.end(self._raw.failure or f"silent for {self._limits.silence_ms} ms")

    # The bulk plane.

    async def request(self, data: bytes) -> bytes:
        """Return the answer to a bulk request, on a stream of its own.

        Raises:
            StreamGone: The pipe or the stream ended before the answer came, or the peer refused.
        """
        assert self._nursery is not None
        stream = await open_stream(
            self._muxer, self._raw, frames.BULK, frames.request(data), stall_s=self._stall_s
        )
        try:
            answer = await frames.read_answer(stream)
        except BaseException:
            await stream.reset()
            raise
        self._nursery.start_soon(stream.finish)
        return answer

    def start(self, task: Callable[[], Awaitable[None]]) -> bool:
        """Run `task` until this connection ends; False where it has ended."""
        if self._nursery is None:
            return False
        try:
            self._nursery.start_soon(task)
        except RuntimeError:
            return False  # The last task has ended and `run` has not gone on yet: the nursery is closed.
        return True

    async def _accept(self) -> None:
        assert self._nursery is not None
        try:
            while True:
                stream = await accept_stream(self._muxer, self._raw, stall_s=self._stall_s)
                if self._inbound_streams >= self._limits.requests_in_flight + STREAMS_SPARE:
                    await stream.reset()
                    continue
                self._inbound_streams += 1
                self._nursery.start_soon(self._attend, stream)
        except StreamGone as gone:
            self._lose(str(gone))

    async def _attend(self, stream: Stream) -> None:
        """Find out what the peer opened `stream` for, and do it."""
        try:
            with trio.move_on_after(self._limits.handshake_ms / 1000) as deadline:
                protocol = await accept_protocol(stream, PROTOCOLS)
            if deadline.cancelled_caught:
                return
            if protocol == frames.CONTROL and self.is_inbound and self._control is None:
                self._control, self._is_read = stream, True
                self._control_is_open.set()
                await self.closed.wait()  # The stream counts for as long as the connection lives.
            elif protocol == frames.BULK:
                await self._serve(stream)
            elif protocol == identify.PROTOCOL:
                key, listening = self._upgrader.key_protobuf, self._listening()
                answer = identify.answer(key, listening, self.address, PROTOCOLS)
                await stream.write(answer, unsent_bytes=BULK_UNSENT_BYTES)
                await stream.finish()
        except StreamGone:
            return
        finally:
            self._inbound_streams -= 1
            await stream.reset()

    async def _serve(self, stream: Stream) -> None:
        await self.settled.wait()  # The peer may ask before its confirmation reached us.
        request = await frames.read_request(stream)
        while self._answers_bytes > self._limits.bulk_queue_bytes:
            await self._room.park()
        answer = Answer()
        self._owner.serve(self, request, answer)
        data = await answer.wait()
        self._answers_bytes += len(data)
        try:
            async with self._answering:
                await stream.write(data, unsent_bytes=BULK_UNSENT_BYTES)
        finally:
            self._answers_bytes -= len(data)
            self._room.unpark_all()
        await stream.finish()
