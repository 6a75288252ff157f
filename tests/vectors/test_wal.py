"""Every entry of the write-ahead log has its frozen frame, and a reader stops where sound frames end.

`python tests/vectors/test_wal.py` writes wal.json anew; the spec and a decision record come first.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.chain import World
from vectors.test_messages import readable, samples, structs_in

from p2pfed.consensus import io
from p2pfed.consensus.journal import Began, Ended, Entry, Said, decode_entry, encode_entry
from p2pfed.consensus.signer import initial_record
from p2pfed.primitives import codec
from p2pfed.storage.frames import SYNCED, encode_frame, read_frames
from p2pfed.storage.log import VERSION

PATH = Path(__file__).with_name("wal.json")


def entries(world: World) -> dict[str, Entry]:
    """Return an entry of each kind, some kinds twice, by what it tells."""
    messages: dict[str, Any] = samples(world)[0]
    proposal, prevote = messages["proposal"], messages["prevote for a fresh value"]
    polka, commit, header = messages["polka certificate"], messages["commit certificate"], proposal.header
    record = msgspec.structs.replace(
        initial_record(), height=1, step=2, proposal=proposal, prevote=prevote, lock_round=-1
    )
    return {
        "a height begins": Began(1, 0, None),
        "a height begins for an observer": Began(1, None, None),
        "a height goes on from a vote state": Began(1, 0, record),
        "our own vote": Said(prevote),
        "our own proposal": Said(proposal),
        "a proposal": io.ProposalReceived(proposal),
        "a prevote": io.VoteReceived(messages["prevote for nothing"]),
        "a precommit": io.VoteReceived(messages["precommit"]),
        "a polka": io.PolkaReceived(polka),
        "a certificate": io.CommitReceived(commit),
        "a value is valid": io.ValueReady(header.value_id, True),
        "a value is not valid": io.ValueReady(header.value_id, False),
        "a value is not here yet": io.ValuePending(header.value_id, 70_000, 1_000_000),
        "our own value": io.LocalValue(3, header),
        "collecting is over": io.CollectEnded(),
        "a wait is over": io.TimeoutFired("prevote", 2),
        "after a restart": io.Restarted(),
        "the block is stored": Ended(1),
    }


def made() -> dict[str, Any]:
    """Return the vectors as this code makes them: one file of a log, and what is read where it is damaged."""
    world = World([10, 10, 10, 10])
    rows: list[dict[str, Any]] = []

    def add(name: str, kind: str, body: Any, data: bytes) -> None:
        frame = encode_frame(len(rows), kind, data)
        rows.append({"name": name, "kind": kind, "body": readable(body), "frame": frame.hex()})

    start = (VERSION, world.genesis.chain_id)
    add("a file begins", "log", start, codec.encode(start))
    found = entries(world)
    for name, entry in found.items():
        kind, data = encode_entry(entry)
        add(name, kind, _body(entry), data)
    add("all before was durable", SYNCED, len(rows), codec.encode(len(rows)))
    file = b"".join(bytes.fromhex(row["frame"]) for row in rows)
    last, second = len(bytes.fromhex(rows[-1]["frame"])), len(bytes.fromhex(rows[0]["frame"]))
    flipped = bytearray(file)
    flipped[second + 9] ^= 1
    reads = {
        "a whole file": file,
        "a torn tail": file[:-1],
        "zeros behind it": file + bytes(16),
        "a flipped bit in the second frame": bytes(flipped),
        "a number twice": file + file[-last:],
        "nothing": b"",
    }
    kinds = {kind.__name__: kind for row in found.values() for kind in _structs(row)}
    return {
        "types": {
            name: {"tag": None, "signed_as": None, "fields": list(kind.__struct_fields__)}
            for name, kind in sorted(kinds.items())
            if name == "SignRecord"
        },
        "frames": rows,
        "reads": [
            {"name": name, "file": data.hex(), "frames": len(read_frames(data)[0])}
            for name, data in reads.items()
        ],
    }


def _body(entry: Entry) -> Any:
    """Return the body of an entry as the spec has it: one value, or several in an array."""
    values = tuple(getattr(entry, name) for name in entry.__struct_fields__)
    return None if not values else values[0] if len(values) == 1 else values


def _structs(entry: Entry) -> Any:
    return [kind for name in entry.__struct_fields__ for kind in structs_in(getattr(entry, name))]


FROZEN = json.loads(PATH.read_text(encoding="utf-8")) if PATH.exists() else {"frames": [], "reads": []}


def test_every_entry_has_its_frozen_frame() -> None:
    assert made() == FROZEN


def test_there_is_a_vector_of_every_kind() -> None:
    from p2pfed.consensus import journal

    assert {row["kind"] for row in FROZEN["frames"]} == {*journal._TYPES, "log", SYNCED}


def test_frozen_frames_are_read_back_as_the_entries_they_were() -> None:
    data = b"".join(bytes.fromhex(row["frame"]) for row in FROZEN["frames"])
    frames, end = read_frames(data)
    assert end == len(data)
    expected = list(entries(World([10, 10, 10, 10])).values())
    assert [decode_entry(frame.kind, frame.body) for frame in frames[1:-1]] == expected


@pytest.mark.parametrize("row", FROZEN["reads"], ids=lambda row: row["name"])
def test_a_reader_stops_where_sound_frames_end(row: dict[str, Any]) -> None:
    assert len(read_frames(bytes.fromhex(row["file"]))[0]) == row["frames"]


if __name__ == "__main__":
    PATH.write_text(json.dumps(made(), indent=1) + "\n", encoding="utf-8")
