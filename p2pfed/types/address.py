"""Peer ids and multiaddrs: `/ip4/192.168.1.7/tcp/7400/p2p/16Uiu2HA…`, the libp2p spelling."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from msgspec import Struct

from p2pfed.errors import MalformedMessage
from p2pfed.primitives.keys import PUBLIC_KEY_BYTES, is_public_key
from p2pfed.types.params import ADDRESS_CHARACTERS_MAX

# An identity multihash (0x00, 37 bytes) of libp2p's protobuf {type: secp256k1, data: 33 bytes}.
_PEER_ID_PREFIX = bytes.fromhex("002508021221")
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


@lru_cache(maxsize=1024)  # Each line of a log names somebody, and divisions by 58 are slow.
def peer_id(public: bytes) -> str:
    """Return the libp2p peer id of a compressed public key: it contains the key itself."""
    assert len(public) == PUBLIC_KEY_BYTES
    data = _PEER_ID_PREFIX + public
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = _BASE58[digit] + text
    return "1" + text  # One leading zero byte.


def short_id(public: bytes) -> str:
    """Return the last four characters of the peer id, behind an ellipsis: a peer's name in logs."""
    return "…" + peer_id(public)[-4:]


@lru_cache(maxsize=1024)  # Each record repeats it in each of its addresses.
def public_key_of(text: str) -> bytes:
    """Return the public key inside a peer id.

    Raises:
        MalformedMessage: `text` is no peer id of a secp256k1 key.
    """
    number = 0
    for character in text[:64]:
        digit = _BASE58.find(character)
        if digit < 0:
            raise MalformedMessage(f"{character!r} is no character of a peer id")
        number = number * 58 + digit
    length = len(_PEER_ID_PREFIX) + PUBLIC_KEY_BYTES
    if number >> (8 * length):
        raise MalformedMessage("too long for a peer id")
    data = number.to_bytes(length, "big")
    public = data[len(_PEER_ID_PREFIX) :]
    if not data.startswith(_PEER_ID_PREFIX) or not is_public_key(public) or peer_id(public) != text:
        raise MalformedMessage("not the peer id of a secp256k1 key")
    return public


class Multiaddr(Struct, frozen=True):
    """Where a peer listens. `host` is an IPv4 or IPv6 address or a DNS name; `public` None when unknown."""

    host: str
    port: int
    public: bytes | None = None

    @property
    def is_routable(self) -> bool:
        """Answer whether another machine could dial it: not a wildcard and not loopback."""
        try:
            address = ipaddress.ip_address(self.host)
        except ValueError:
            return True
        return not (address.is_unspecified or address.is_loopback)

    @property
    def is_wildcard(self) -> bool:
        return self.host in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound

    def __str__(self) -> str:
        try:
            protocol = f"ip{ipaddress.ip_address(self.host).version}"
        except ValueError:
            protocol = "dns"
        suffix = f"/p2p/{peer_id(self.public)}" if self.public else ""
        return f"/{protocol}/{self.host}/tcp/{self.port}{suffix}"


def parse_multiaddr(text: str) -> Multiaddr:
    """Return the address that `text` spells.

    Raises:
        MalformedMessage: Not `/ip4|ip6|dns/HOST/tcp/PORT[/p2p/ID]`.
    """
    if len(text) > ADDRESS_CHARACTERS_MAX:
        raise MalformedMessage(f"an address of {len(text)} characters; at most {ADDRESS_CHARACTERS_MAX}")
    parts = text.split("/")
    if len(parts) not in (5, 7) or parts[0] or parts[3] != "tcp" or (len(parts) == 7 and parts[5] != "p2p"):
        raise MalformedMessage(f"{text!r} is no address like /ip4/192.168.1.7/tcp/7400/p2p/16Uiu2HA…")
    protocol, host, port = parts[1], parts[2], parts[4]
    if protocol in ("ip4", "ip6"):
        try:
            version = ipaddress.ip_address(host).version
        except ValueError:
            raise MalformedMessage(f"{host!r} is no IP address") from None
        if protocol != f"ip{version}":
            raise MalformedMessage(f"{host!r} is not of protocol {protocol}")
    elif (
        protocol not in ("dns", "dns4", "dns6")
        or not host
        or not host.replace("-", "").replace(".", "").isalnum()
    ):
        raise MalformedMessage(f"{text!r} names no host")
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise MalformedMessage(f"{port!r} is no TCP port")
    return Multiaddr(host, int(port), public_key_of(parts[6]) if len(parts) == 7 else None)
