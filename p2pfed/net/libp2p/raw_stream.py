"""The socket below the library: it reads whole, never blocks a writer, and hears what the peer is not.

The library reads and answers in one task. Were a write to wait for the network there, two peers that send
bulk to each other could each wait for the other to read; so `write` only queues and `drain` alone waits. The
queue's length is what paces bulk and control (`until_unsent_below`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress

import trio
from libp2p.io.exceptions import ConnectionClosedError

from p2pfed.net.libp2p.limits import (
    GREETING_BYTE,
    READ_BYTES_MAX,
    RECEIVE_BYTES,
    TLS_BYTES,
    UNSENT_BYTES_MAX,
)

SPEAKS_TCP = (
    "it speaks the transport tcp (TLS) and we speak libp2p: both ends must use the one their genesis names"
)
SPEAKS_NEITHER = "it speaks neither of the transports libp2p and tcp"


TCP_SENTENCE = b"this port speaks tcp"


class RawStream:
    """What the library takes for a raw connection. One reader; any number of writers."""

    def __init__(self, socket: trio.SocketStream, *, is_initiator: bool, stall_s: float) -> None:
        self.is_initiator = is_initiator
        self.heard_at: float = trio.current_time()
        self.failure = ""  # The first reason this stream ended, as one clause.
        self.is_cut = False  # It ended because the other end or the network closed it, not for a misdeed.
        self.guard: Callable[[], str] = str  # Says what is wrong with the peer's use of buffers, if anything.
        self.has_unread: Callable[[], bool] = bool  # Answers whether streams hold what nobody has read yet.
        self._socket = socket
        self._stall_s = stall_s
        self._received = bytearray()
        self._is_greeted = False
        self._is_finished = False  # We send no more ...
        self._is_read_out = False  # ... or the other end does not.
        self._unsent: deque[bytes] = deque()
        self._unsent_bytes = 0
        self._has_unsent = trio.Event()
        self._progress = trio.lowlevel.ParkingLot()
        name = socket.socket.getpeername()
        self._remote: tuple[str, int] = (name[0], name[1])

    async def read(self, n: int | None = None) -> bytes:
        """Return exactly `n` bytes (all there are, where None); raises ConnectionClosedError at the end."""
        # The library is done with the frame before, so windows may have opened.
        self._progress.unpark_all()
        if n is not None and n > READ_BYTES_MAX:
            raise self._fail(f"it announced {n} bytes where at most {READ_BYTES_MAX} are read at once")
        while len(self._received) < (n if n is not None else 1):
            await self._receive()
        n = len(self._received) if n is None else n
        with memoryview(self._received) as view:
            data = bytes(view[:n])
        del self._received[:n]
        return data

    async def _receive(self) -> None:
        if problem := self.guard():
            raise self._fail(problem)
        try:
            data = await self._socket.receive_some(RECEIVE_BYTES)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await self._until_read()
            raise self._cut("the connection broke") from None
        if not data:
            await self._until_read()
            raise self._cut("it closed the connection")
        self.heard_at = trio.current_time()
        self._received += data
        if not self._is_greeted:
            self._is_greeted = True
            if data[0] != GREETING_BYTE:
                raise self._fail(SPEAKS_TCP if data[0] in TLS_BYTES else SPEAKS_NEITHER)
            # A tcp port that sees our greeting answers with one, and a sentence behind it.
            if TCP_SENTENCE in data:
                raise self._fail(SPEAKS_TCP)

    async def _until_read(self) -> None:
        """Wait until what came before the end is read: the library drops it then, a goodbye too."""
        self._is_read_out = True
        self._progress.unpark_all()
        with trio.move_on_after(self._stall_s):
            while self.has_unread():
                await self._progress.park()

    def note_read(self) -> None:
        """A stream was read."""
        self._progress.unpark_all()

    async def write(self, data: bytes) -> None:
        """Queue `data`, or drop it where we are finished; never waits.

        Raises:
            ConnectionClosedError: The stream ended, or the peer left too much unread.
        """
        if self.failure:
            raise ConnectionClosedError(self.failure)
        if self._is_finished:
            return
        if self._unsent_bytes + len(data) > UNSENT_BYTES_MAX:
            raise self._fail(f"it left more than {UNSENT_BYTES_MAX} bytes unread")
        self._unsent.append(data)
        self._unsent_bytes += len(data)
        self._has_unsent.set()

    async def drain(self) -> bool:
        """Send what is queued until the stream ends: the one task that waits for the network.

        Returns:
            Whether it ended because the peer took nothing; then nobody else would notice.
        """
        while not self.failure:
            await self._has_unsent.wait()
            self._has_unsent = trio.Event()
            while self._unsent:
                data = self._take()
                with trio.move_on_after(self._stall_s) as deadline:
                    try:
                        await self._socket.send_all(data)
                    except (trio.BrokenResourceError, trio.ClosedResourceError):
                        self._cut("the connection broke")
                        return False
                if deadline.cancelled_caught:
                    self._fail(f"it took none of our bytes for {self._stall_s:g} s")
                    return True
                self._unsent_bytes -= len(data)
                self._progress.unpark_all()
        return False

    def _take(self) -> bytes:
        """Return queued frames as one piece of about RECEIVE_BYTES: one system call for many votes."""
        pieces = [self._unsent.popleft()]
        size = len(pieces[0])
        while self._unsent and size + len(self._unsent[0]) <= RECEIVE_BYTES:
            pieces.append(self._unsent.popleft())
            size += len(pieces[-1])
        return b"".join(pieces)

    async def until_progress(self) -> None:
        """Wait until a frame was handled or bytes were sent: a window or the queue may have room."""
        if self.failure:
            raise ConnectionClosedError(self.failure)
        await self._progress.park()

    async def until_unsent_below(self, limit: int) -> None:
        """Wait until at most `limit` bytes are unsent."""
        while self._unsent_bytes > limit:
            await self.until_progress()

    async def finish(self) -> None:
        """Send what is queued, say that no more comes, and wait for the other end to do the same.

        Closing at once would lose the end of it: a kernel answers what comes for a closed socket, an
        acknowledgement of the library too, with a reset, and a reset drops what the other end has not read.
        """
        with suppress(ConnectionClosedError, trio.BrokenResourceError, trio.ClosedResourceError):
            await self.until_unsent_below(0)
            self._is_finished = True
            await self._socket.send_eof()
            while not self._is_read_out:
                await self.until_progress()

    def _cut(self, reason: str) -> ConnectionClosedError:
        self.is_cut = self.is_cut or not self.failure
        return self._fail(reason)

    def _fail(self, reason: str) -> ConnectionClosedError:
        self.failure = self.failure or reason
        self._progress.unpark_all()
        self._has_unsent.set()
        return ConnectionClosedError(self.failure)

    async def close(self) -> None:
        """Close the socket at once."""
        self._fail("we closed it")
        await trio.aclose_forcefully(self._socket)

    def get_remote_address(self) -> tuple[str, int]:
        """Return host and port of the other end."""
        return self._remote
