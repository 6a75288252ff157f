"""Open a TLS connection, or say in one sentence why there is none."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress

from p2pfed.net.limits import Limits
from p2pfed.net.tcp.stream import Stream
from p2pfed.net.transport import TransportError
from p2pfed.types.address import Multiaddr

TLS_FIRST_BYTE = 0x16
MULTISTREAM_FIRST_BYTE = 0x13
_MULTISTREAM_GREETING = b"\x13/multistream/1.0.0\n"
_PROBE_S = 1.0  # A libp2p listener greets at once.


def place(address: Multiaddr) -> str:
    """Return `host:port`, as a person writes it."""
    return f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"


async def dial_tls(address: Multiaddr, context: ssl.SSLContext, limits: Limits) -> Stream:
    """Return a TLS stream to `address`.

    Raises:
        TransportError: Not reached, or it does not speak TLS 1.3; says where it speaks libp2p.
    """
    stream = Stream()
    where = place(address)
    try:
        await stream.dial(address.host, address.port, context, limits)
    except (ssl.SSLError, ConnectionResetError, BrokenPipeError) as error:
        if await _speaks_libp2p(address):
            raise TransportError(f"{where} speaks libp2p, this network tcp") from None
        raise TransportError(f"{where} does not speak this network's tcp: {_clause(error)}") from None
    except socket.gaierror as error:
        raise TransportError(f"the name {address.host} was not found: {error.strerror}") from None
    except OSError as error:
        raise TransportError(f"{where} was not reached: {_clause(error)}") from None
    return stream


async def _speaks_libp2p(address: Multiaddr) -> bool:
    """Answer whether a second connection is greeted as libp2p greets; asked only after TLS failed."""
    with suppress(OSError, asyncio.IncompleteReadError):
        async with asyncio.timeout(_PROBE_S):
            reader, writer = await asyncio.open_connection(address.host, address.port)
            try:
                writer.write(_MULTISTREAM_GREETING)
                return (await reader.readexactly(1))[0] == MULTISTREAM_FIRST_BYTE
            finally:
                writer.transport.abort()
    return False


def _clause(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "TLS failed").lower().replace("_", " ")
    return (error.strerror or str(error) or type(error).__name__).lower()
