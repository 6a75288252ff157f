"""The peers that are remembered."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import tiny_chain

from p2pfed.errors import StorageFault
from p2pfed.storage.peers_file import load_peers, save_peers
from p2pfed.types.peer import PeerRecord

CHAIN_ID = tiny_chain.genesis().chain_id


def record(number: int, address: str = "/ip4/10.0.0.1/tcp/7400") -> PeerRecord:
    key = tiny_chain.KEYS[number]
    return tiny_chain.signed(PeerRecord(key.public, 7, (address,), tiny_chain.BLANK), key, CHAIN_ID)


def test_peers_come_back_in_the_order_of_their_keys(tmp_path: Path) -> None:
    path = tmp_path / "peers.json"
    assert load_peers(path, CHAIN_ID) == ()
    save_peers(path, [record(2), record(0), record(1, "/dns/bücher/tcp/1")])
    assert load_peers(path, CHAIN_ID) == (record(0), record(1, "/dns/bücher/tcp/1"), record(2))


def test_every_flipped_byte_is_found(tmp_path: Path) -> None:
    path = tmp_path / "peers.json"
    save_peers(path, [record(0)])
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(StorageFault, match="--join"):
            load_peers(path, CHAIN_ID)


def test_peers_of_another_network_are_not_believed(tmp_path: Path) -> None:
    save_peers(tmp_path / "peers.json", [record(0)])
    with pytest.raises(StorageFault):
        load_peers(tmp_path / "peers.json", bytes(32))
