"""The reading end of a TLS connection: bytes come into a small buffer, or straight to where they belong.

asyncio's own stream reader joins, appends and cuts every byte, which costs as much as the cipher does.
"""

from __future__ import annotations

import asyncio
from typing import cast

_BUFFER_BYTES = 64 * 1024  # For headers and small frames; what is larger goes to a place of its own.


class Receiver(asyncio.BufferedProtocol):
    """One reader at a time awaits `readexactly`; the writer awaits `drain`, whoever closes `closed`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.heard_at = self._loop.time()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0  # What is in the buffer and not read yet.
        self._target: memoryview | None = None  # The rest of a place that a reader wants filled.
        self._wanted = 0  # How many bytes in the buffer a reader waits for.
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._is_writing_paused = False
        self._is_reading_paused = False
        self._is_over = False
        self._failure: Exception | None = None

    async def readexactly(self, count: int) -> bytes | bytearray:
        """Return the next `count` bytes.

        Raises:
            asyncio.IncompleteReadError: The connection ended in an orderly way before that.
            OSError: It broke.
        """
        held = self._end - self._start
        if held < count and count <= _BUFFER_BYTES // 2:
            self._wanted = count
            await self._wait()
            held = self._end - self._start
        if held >= count:
            data = bytes(self._view[self._start : self._start + count])
            self._took(count)
            return data
        place = bytearray(count)
        place[:held] = self._view[self._start : self._end]
        self._took(held)
        self._target = memoryview(place)[held:]
        await self._wait()
        return place

    async def drain(self) -> None:
        """Return when little is left to be sent; raises OSError where the connection is gone."""
        if self._failure is not None:
            raise self._failure
        if self._transport is None or self._transport.is_closing():
            await asyncio.sleep(0)  # So that a lost connection is told of before more is written.
        if self.closed.done():
            raise self._failure or ConnectionResetError("the connection is closed")
        if self._is_writing_paused:
            self._writer = self._loop.create_future()
            try:
                await self._writer
            finally:
                self._writer = None

    async def _wait(self) -> None:
        """Return when what a reader wants is here."""
        if self._failure is not None:
            raise self._failure
        if self._is_over:
            raise self._incomplete()
        assert self._reader is None
        self._reader = self._loop.create_future()
        try:
            await self._reader
        finally:
            self._reader = None
            self._target, self._wanted = None, 0

    def _took(self, count: int) -> None:
        self._start += count
        if self._start == self._end:
            self._start = self._end = 0
        if self._is_reading_paused and self._end - self._start < _BUFFER_BYTES // 2:
            self._is_reading_paused = False
            self._make_room()
            assert self._transport is not None
            self._transport.resume_reading()

    def _make_room(self) -> None:
        held = self._end - self._start
        self._buffer[:held] = self._buffer[self._start : self._end]
        self._start, self._end = 0, held

    def _incomplete(self) -> asyncio.IncompleteReadError:
        return asyncio.IncompleteReadError(bytes(self._view[self._start : self._end]), None)

    def _wake(self, failure: Exception | None = None) -> None:
        if self._reader is not None and not self._reader.done():
            if failure is None:
                self._reader.set_result(None)
            else:
                self._reader.set_exception(failure)

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - there is as much room as there is
        return self._target if self._target is not None else self._view[self._end :]

    def buffer_updated(self, nbytes: int) -> None:
        self.heard_at = self._loop.time()
        if self._target is not None:
            self._target = self._target[nbytes:]
            if not self._target:
                self._target = None
                self._wake()
            return
        self._end += nbytes
        if self._end == _BUFFER_BYTES:
            self._make_room()
            if self._end == _BUFFER_BYTES:  # Nobody reads: the other end waits until somebody does.
                self._is_reading_paused = True
                assert self._transport is not None
                self._transport.pause_reading()
        if self._wanted and self._end - self._start >= self._wanted:
            self._wake()

    def eof_received(self) -> bool:
        self._is_over = True
        self._wake(self._incomplete())
        return False  # The transport closes itself.

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_over = True
        self._failure = exc
        self._wake(exc or self._incomplete())
        if self._writer is not None and not self._writer.done():
            self._writer.set_exception(exc or ConnectionResetError("the connection is closed"))
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        self._is_writing_paused = True

    def resume_writing(self) -> None:
        self._is_writing_paused = False
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)
