"""Where a peer tells others to dial it: what the operator says, else what this machine can see of itself."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from p2pfed.errors import LocalError, MalformedMessage
from p2pfed.types.address import Multiaddr, parse_multiaddr

# Never contacted: choosing a route to a documentation address shows which of our addresses faces the world.
_PROBES = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


def parse_addresses(texts: Sequence[str], default_port: int) -> tuple[Multiaddr, ...]:
    """Return addresses given as multiaddr, HOST or HOST:PORT.

    Raises:
        LocalError: One is neither.
    """
    return tuple(_parse(text, default_port) for text in texts)


def announced(listen: str, port: int, announce: Sequence[str]) -> tuple[Multiaddr, ...]:
    """Return the addresses to announce; a wildcard becomes the addresses of this machine, never itself."""
    if announce:
        addresses = parse_addresses(announce, port)
        for address in addresses:
            if address.is_wildcard:
                raise LocalError(f"nobody can dial {address.host}: announce an address of this machine")
        return addresses
    listened = Multiaddr(listen, port)
    if not listened.is_wildcard:
        return (listened,)
    return tuple(Multiaddr(host, port) for host in _own_hosts(listen))


def _own_hosts(wildcard: str) -> list[str]:
    """Return the addresses that the wildcard listens on: `0.0.0.0` those of IPv4 alone, `::` all."""
    hosts = []
    for family, probe in _PROBES if wildcard == "::" else _PROBES[:1]:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.connect((probe, 9))
                hosts.append(sock.getsockname()[0])
        except OSError:
            continue  # No route of this family: nothing to announce in it.
    return hosts


def _parse(text: str, default_port: int) -> Multiaddr:
    try:
        if text.startswith("/"):
            return parse_multiaddr(text)
        host, _, port = text.rpartition(":") if text.count(":") == 1 else (text, "", "")
        return parse_multiaddr(str(Multiaddr(host or text, int(port) if port else default_port)))
    except (MalformedMessage, ValueError) as error:
        raise LocalError(f"{text!r} is no address: {error}") from None
