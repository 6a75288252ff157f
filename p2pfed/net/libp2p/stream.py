"""One multiplexed stream, read whole and written within its window.

Two habits of the library are worked around here. Its `read_exactly` gives up after 101 partial reads; the one
here loops until done. Its yamux resets a stream that waited 5 s for its window, looking every 10 ms; `write`
here hands over only what the window takes and is woken when it opens.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import trio
from libp2p.exceptions import BaseLibp2pError

from p2pfed.net.libp2p.limits import CONTROL_UNSENT_BYTES, FRAME_BYTES_MAX, NEGOTIATION_BYTES_MAX
from p2pfed.net.libp2p.raw_stream import RawStream


class StreamGone(Exception):
    """The stream ended before what was asked for; the text is one clause."""


class Stream:
    """A yamux stream with a buffer of its own; one reader and one writer at a time."""

    def __init__(self, muxed: Any, raw: RawStream, *, stall_s: float) -> None:
        self._muxed = muxed
        self._raw = raw
        self._stall_s = stall_s
        self._buffer = bytearray()

    async def read(self, n: int | None = None) -> bytes:
        """Return exactly `n` bytes of a negotiation, in which all words are short."""
        if n is None or n > NEGOTIATION_BYTES_MAX:
            raise StreamGone("it sent no name of a protocol")
        return await self.read_exactly(n)

    async def read_exactly(self, n: int) -> bytes:
        """Return exactly `n` bytes, however many frames they come in.

        Raises:
            StreamGone: The stream ended before.
        """
        while len(self._buffer) < n:
            self._buffer += await self._read_some(n - len(self._buffer))
        with memoryview(self._buffer) as view:
            data = bytes(view[:n])
        del self._buffer[:n]
        return data

    async def _read_some(self, missing: int) -> bytes:
        try:
            # Every read of the library costs a window update, so it is asked for more than is missing.
            data: bytes = await self._muxed.read(max(missing, FRAME_BYTES_MAX))
        except BaseLibp2pError as error:
            raise StreamGone(self._raw.failure or str(error) or "the stream ended") from None
        self._raw.note_read()
        return data

    async def write(self, data: bytes, *, unsent_bytes: int = CONTROL_UNSENT_BYTES) -> None:
        """Send `data` in pieces, each when less than `unsent_bytes` wait for the network.

        Raises:
            StreamGone: The stream ended, or the peer took nothing for the stall time.
        """
        view, sent = memoryview(data), 0
        try:
            while sent < len(data):
                with trio.move_on_after(self._stall_s) as deadline:
                    await self._raw.until_unsent_below(unsent_bytes)
                    while (
                        self._muxed.send_window <= 0
                        and not self._muxed.closed
                        and not self._muxed.send_closed
                    ):
                        await self._raw.until_progress()
                if deadline.cancelled_caught:
                    raise StreamGone(f"it took none of our bytes for {self._stall_s:g} s")
                piece = view[sent : sent + max(1, min(self._muxed.send_window, FRAME_BYTES_MAX))]
                await self._muxed.write(bytes(piece))
                sent += len(piece)
        except BaseLibp2pError as error:
            raise StreamGone(self._raw.failure or str(error) or "the stream ended") from None

    async def send_end(self) -> None:
        """Say that we write no more."""
        with suppress(BaseLibp2pError):
            await self._muxed.close()

    async def finish(self) -> None:
        """Leave nothing of the stream behind: wait for the other end's end, or drop the stream.

        The library would keep the bookkeeping, and what was sent unasked, of a stream that a peer never ends.
        """
        await self.send_end()
        try:
            with trio.move_on_after(self._stall_s):
                await self._read_some(1)
        except StreamGone:
            return
        finally:
            await self.reset()

    async def reset(self) -> None:
        """Drop the stream in both directions; safe while being cancelled, because writes never wait."""
        unread = self._muxed.conn.stream_buffers.get(self._muxed.stream_id)
        if unread is not None:
            unread.clear()
        with trio.CancelScope(shield=True), suppress(BaseLibp2pError):
            await self._muxed.reset()
