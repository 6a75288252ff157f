"""Peer records: a peer's signed word where it can be reached."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from p2pfed.types.message import PublicKey, Signature, SignedMessage, TimeMs
from p2pfed.types.params import ADDRESS_CHARACTERS_MAX, ADDRESSES_PER_PEER_MAX

AddressText = Annotated[str, msgspec.Meta(min_length=1, max_length=ADDRESS_CHARACTERS_MAX)]


class PeerRecord(SignedMessage, frozen=True, array_like=True, forbid_unknown_fields=True, tag=13):
    """Addresses of `key` (multiaddrs with its peer id); the largest `sequence` wins."""

    KIND: ClassVar[str] = "peer"

    key: PublicKey
    sequence: TimeMs
    addresses: Annotated[tuple[AddressText, ...], msgspec.Meta(max_length=ADDRESSES_PER_PEER_MAX)]
    signature: Signature
