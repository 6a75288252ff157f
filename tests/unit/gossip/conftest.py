"""Signed peer records of a small network."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from p2pfed.primitives.keys import PrivateKey
from p2pfed.types.address import Multiaddr
from p2pfed.types.peer import PeerRecord

CHAIN_ID = bytes(range(32))


def private_keys(count: int) -> list[PrivateKey]:
    """Return keys whose public keys ascend."""
    keys = [PrivateKey((number + 1).to_bytes(32, "big")) for number in range(count)]
    return sorted(keys, key=lambda key: key.public)


@pytest.fixture
def chain_id() -> bytes:
    return CHAIN_ID


@pytest.fixture
def keys() -> list[PrivateKey]:
    return private_keys(6)


RecordMaker = Callable[..., PeerRecord]


@pytest.fixture
def make_record() -> RecordMaker:
    """Return a maker of records: `make(key, sequence, port=…, addresses=…, chain_id=…)`."""

    def make(
        key: PrivateKey,
        sequence: int = 1,
        *,
        port: int = 7400,
        addresses: tuple[str, ...] | None = None,
        chain_id: bytes = CHAIN_ID,
    ) -> PeerRecord:
        if addresses is None:
            addresses = (str(Multiaddr("10.0.0.1", port, key.public)),)
        unsigned = PeerRecord(key.public, sequence, addresses, bytes(64))
        return PeerRecord(key.public, sequence, addresses, key.sign(unsigned.digest(chain_id)))

    return make
