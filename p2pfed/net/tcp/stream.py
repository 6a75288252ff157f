"""A TLS byte stream that knows when it last heard something, and that holds little unsent."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, SupportsIndex

from p2pfed.net.limits import BULK_PIECE_BYTES, Limits

_READ_AHEAD_BYTES = 4 * BULK_PIECE_BYTES  # asyncio stops reading at twice this: 0.5 MiB for a pipe at most.
_UNSENT_BYTES = 2 * BULK_PIECE_BYTES  # What the kernel may hold unsent in front of a vote.


class _Reader(asyncio.StreamReader):
    """A reader that notes the time of every arrival."""

    def __init__(self) -> None:
        super().__init__(limit=_READ_AHEAD_BYTES)
        self.heard_at = asyncio.get_running_loop().time()

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        super().feed_data(data)


class Stream:
    """Bytes in through `reader`, bytes out through `write`."""

    def __init__(self) -> None:
        self.reader = _Reader()
        self.protocol = asyncio.StreamReaderProtocol(self.reader)
        self._writer: asyncio.StreamWriter | None = None

    async def accept(self, sock: socket.socket, context: ssl.SSLContext, limits: Limits) -> None:
        """Do the listener's TLS handshake on a connected socket, which is ours from now on."""
        transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
            lambda: self.protocol, sock, ssl=context, **_deadlines(limits)
        )
        self._open(transport)

    async def dial(self, host: str, port: int, context: ssl.SSLContext, limits: Limits) -> None:
        """Connect and do the dialer's TLS handshake.

        Raises:
            ssl.SSLError, ConnectionResetError: The other end does not speak TLS 1.3.
            OSError: It was not reached.
        """
        transport, _ = await asyncio.get_running_loop().create_connection(
            lambda: self.protocol, host, port, ssl=context, server_hostname="p2pfed", **_deadlines(limits)
        )
        self._open(transport)

    def _open(self, transport: asyncio.Transport) -> None:
        transport.set_write_buffer_limits(high=BULK_PIECE_BYTES)
        sock = transport.get_extra_info("socket")
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # Linux and macOS; without it a vote waits a little longer.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
        self._writer = asyncio.StreamWriter(transport, self.protocol, self.reader, asyncio.get_running_loop())

    @property
    def heard_at(self) -> float:
        """When bytes came in last, on the loop's clock, in seconds."""
        return self.reader.heard_at

    def heard_now(self) -> None:
        """Count this moment as heard."""
        self.reader.heard_at = asyncio.get_running_loop().time()

    def certificate(self) -> bytes:
        """Return the listener's certificate in DER, as the dialer sees it."""
        assert self._writer is not None
        certificate: bytes = self._writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return certificate

    async def write(self, data: bytes) -> None:
        """Write `data` whole, in one go; returns when little of it is still unsent."""
        assert self._writer is not None
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        """Flush and close; the caller sets the deadline and then aborts."""
        assert self._writer is not None
        self._writer.close()
        await self._writer.wait_closed()

    async def abort(self) -> None:
        """Close the socket now, whatever is unsent; returns when it is closed."""
        if self._writer is None:  # There was no handshake yet.
            return
        self._writer.transport.abort()
        with suppress(OSError):
            await self._writer.wait_closed()


def _deadlines(limits: Limits) -> dict[str, Any]:
    return {
        "ssl_handshake_timeout": limits.handshake_ms / 1000,
        "ssl_shutdown_timeout": limits.close_ms / 1000,
    }
