"""Transports for tests: those of the product, and libp2p whose side channels nobody can reach."""

from __future__ import annotations

import socket
from typing import Any

from p2pfed.net import factory
from p2pfed.net.transport import Transport
from p2pfed.types.address import Multiaddr

WITHOUT_SIDE = "libp2p, no side channel"


def make_transport(name: str, **arguments: Any) -> Transport:
    """Return the transport called `name`."""
    if name != WITHOUT_SIDE:
        return factory.make_transport(name, **arguments)
    made: Any = factory.make_transport("libp2p", **arguments)

    def refuse(sock: socket.socket, _: Multiaddr) -> None:  # As a firewall that lets no TLS through.
        sock.close()

    made.accepted_tls = refuse
    return made  # type: ignore[no-any-return]


def has_side_channel(transport: Any, other: bytes) -> bool:
    """Answer whether requests to `other` go over a side channel; True where there is no pipe to it."""
    pipe = transport._pipes.get(other)
    return pipe is None or pipe.side.is_open


def lacks_side_channel(transport: Any, other: bytes) -> bool:
    """Answer whether it is known that they don't; True where there is no pipe to it that we dialled."""
    pipe = transport._pipes.get(other)
    return pipe is None or pipe.connection.is_inbound or pipe.side.has_failed
