"""Answer libp2p's identify protocol, so that any libp2p tool can say who we are and what we speak."""

from __future__ import annotations

from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.utils import encode_varint_prefixed
from multiaddr import Multiaddr as LibraryMultiaddr

from p2pfed import __version__
from p2pfed.types.address import Multiaddr

PROTOCOL = "/ipfs/id/1.0.0"


def answer(
    key_protobuf: bytes, listening: list[Multiaddr], observed: Multiaddr, protocols: tuple[str, ...]
) -> bytes:
    """Return the length-prefixed identify message.

    Args:
        key_protobuf: Our public key in libp2p's encoding.
        listening: Where we can be dialled; wildcards are left out, for nobody can dial them.
        observed: Where we see the asker.
        protocols: What we speak on streams.
    """
    message = Identify(
        protocol_version="p2pfed/1",
        agent_version=f"p2pfed/{__version__}",
        public_key=key_protobuf,
        listen_addrs=[_encoded(address) for address in listening if not address.is_wildcard],
        observed_addr=_encoded(observed),
        protocols=protocols,
    )
    return bytes(encode_varint_prefixed(message.SerializeToString()))


def _encoded(address: Multiaddr) -> bytes:
    return bytes(LibraryMultiaddr(str(Multiaddr(address.host, address.port))).to_bytes())
