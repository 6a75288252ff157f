"""peers.json: the signed addresses that a peer remembers, so that it finds the network again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from p2pfed.errors import MalformedMessage, StorageFault
from p2pfed.primitives import codec
from p2pfed.storage.files import read_small, render_json, replace_file
from p2pfed.types.params import ADDRESS_CHARACTERS_MAX, ADDRESSES_PER_PEER_MAX, KIB, PEERS_KNOWN_MAX
from p2pfed.types.peer import PeerRecord

_RECORD_BYTES_MAX = (
    KIB + 4 * ADDRESSES_PER_PEER_MAX * ADDRESS_CHARACTERS_MAX
)  # A character has at most 4 bytes.


def save_peers(path: Path, records: Iterable[PeerRecord]) -> None:
    """Replace the file with `records`, ascending by key, at most PEERS_KNOWN_MAX of them."""
    replace_file(path, _render(sorted(records, key=lambda record: record.key)[:PEERS_KNOWN_MAX]), "peers")


def _render(records: Sequence[PeerRecord]) -> bytes:
    rows = [{"addresses": list(record.addresses), "record": codec.encode(record).hex()} for record in records]
    return render_json({"version": 1, "peers": rows})


def load_peers(path: Path, chain_id: bytes) -> tuple[PeerRecord, ...]:
    """Return the records of the file; none where there is no file.

    Raises:
        StorageFault: The file is not what `save_peers` writes, or a signature does not hold in this network.
    """
    data = read_small(path)
    if data is None:
        return ()
    records: list[PeerRecord] = []
    try:
        encoded = [bytes.fromhex(row["record"]) for row in json.loads(data)["peers"][:PEERS_KNOWN_MAX]]
        records.extend(codec.decode(record, PeerRecord, _RECORD_BYTES_MAX) for record in encoded)
        is_sound = _render(records) == data
    except (ValueError, KeyError, TypeError, RecursionError, MalformedMessage):
        is_sound = False
    if not is_sound or not all(record.is_signed_by(record.key, chain_id) for record in records):
        raise StorageFault(
            f"{path} is damaged; delete it and start with --join ADDRESS, the peers are learned again"
        )
    return tuple(records)
