"""A TLS byte stream that knows when it last heard something, and that holds little unsent."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

from p2pfed.net.limits import BULK_PIECE_BYTES, Limits
from p2pfed.net.tcp.receiver import Receiver

_UNSENT_BYTES = 2 * BULK_PIECE_BYTES  # What the kernel may hold unsent in front of a vote.


class Stream:
    """Bytes in through `reader`, bytes out through `write`."""

    def __init__(self) -> None:
        self.reader = Receiver()
        self._transport: asyncio.Transport | None = None

    async def accept(self, sock: socket.socket, context: ssl.SSLContext, limits: Limits) -> None:
        """Do the listener's TLS handshake on a connected socket, which is ours from now on."""
        transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
            lambda: self.reader, sock, ssl=context, **_deadlines(limits)
        )
        self._open(transport)

    async def dial(self, host: str, port: int, context: ssl.SSLContext, limits: Limits) -> None:
        """Connect and do the dialer's TLS handshake.

        Raises:
            ssl.SSLError, ConnectionResetError: The other end does not speak TLS 1.3.
            OSError: It was not reached.
        """
        transport, _ = await asyncio.get_running_loop().create_connection(
            lambda: self.reader, host, port, ssl=context, server_hostname="p2pfed", **_deadlines(limits)
        )
        self._open(transport)

    def _open(self, transport: asyncio.Transport) -> None:
        transport.set_write_buffer_limits(high=BULK_PIECE_BYTES)
        sock = transport.get_extra_info("socket")
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # Linux and macOS; without it a vote waits a little longer.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
        self._transport = transport

    @property
    def heard_at(self) -> float:
        """When bytes came in last, on the loop's clock, in seconds."""
        return self.reader.heard_at

    def heard_now(self) -> None:
        """Count this moment as heard."""
        self.reader.heard_at = asyncio.get_running_loop().time()

    def certificate(self) -> bytes:
        """Return the listener's certificate in DER, as the dialer sees it."""
        assert self._transport is not None
        certificate: bytes = self._transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return certificate

    async def write(self, data: bytes) -> None:
        """Write `data` whole, in one go; returns when little of it is still unsent."""
        assert self._transport is not None
        self._transport.write(data)
        await self.reader.drain()

    async def close(self) -> None:
        """Flush and close; the caller sets the deadline and then aborts."""
        assert self._transport is not None
        self._transport.close()
        await asyncio.shield(self.reader.closed)

    async def abort(self) -> None:
        """Close the socket now, whatever is unsent; returns when it is closed."""
        if self._transport is None:  # There was no handshake yet.
            return
        self._transport.abort()
        await asyncio.shield(self.reader.closed)


def _deadlines(limits: Limits) -> dict[str, Any]:
    return {
        "ssl_handshake_timeout": limits.handshake_ms / 1000,
        "ssl_shutdown_timeout": limits.close_ms / 1000,
    }
