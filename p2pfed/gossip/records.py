"""Check a peer record from outside before anything believes it."""

from __future__ import annotations

from p2pfed.errors import BadSignature, OutOfBounds
from p2pfed.primitives.keys import is_public_key
from p2pfed.types.address import Multiaddr, parse_multiaddr
from p2pfed.types.params import ADDRESSES_PER_PEER_MAX
from p2pfed.types.peer import PeerRecord


def verify_record(record: PeerRecord, chain_id: bytes) -> tuple[Multiaddr, ...]:
    """Return the addresses of a record that its own key signed for this network.

    Raises:
        OutOfBounds: Too many addresses, one of another key, a wildcard, or a key that is no point.
        MalformedMessage: An address doesn't parse.
        BadSignature: Not signed by `record.key` for `chain_id`.
    """
    if len(record.addresses) > ADDRESSES_PER_PEER_MAX:
        raise OutOfBounds(f"a record of {len(record.addresses)} addresses; at most {ADDRESSES_PER_PEER_MAX}")
    if not is_public_key(record.key):
        raise OutOfBounds(f"the key {record.key.hex()[:12]}… of a record is no public key")
    addresses = tuple(parse_multiaddr(text) for text in record.addresses)
    for address in addresses:
        if address.public != record.key:
            raise OutOfBounds(
                f"the record of {record.key.hex()[:12]}… holds {address}, another peer's address"
            )
        if address.is_wildcard:
            raise OutOfBounds(f"{address} is an address to listen on, not one to dial")
    if not record.is_signed_by(record.key, chain_id):
        raise BadSignature(
            f"the record of {record.key.hex()[:12]}… is not signed by its key for this network"
        )
    return addresses
