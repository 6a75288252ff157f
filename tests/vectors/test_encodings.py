"""Encodings, ids and signatures are the frozen ones: they change only with the spec and a decision record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.tiny_chain import genesis, steps

from p2pfed.chain.snapshot import snapshot_of
from p2pfed.chain.state import encode_ledger
from p2pfed.errors import MalformedMessage
from p2pfed.primitives import codec
from p2pfed.types.block import Header
from p2pfed.types.certificate import CommitCert
from p2pfed.types.light import LightBlock
from p2pfed.types.snapshot import Snapshot
from p2pfed.types.update import UpdateHeader
from p2pfed.types.wire import Chunk, decode_response

FROZEN = json.loads(Path(__file__).with_name("encodings.json").read_text(encoding="utf-8"))


def test_a_block_of_known_keys_has_the_frozen_bytes_and_ids() -> None:
    block = steps(1)[0].block
    assert {
        "chain_id": genesis().chain_id.hex(),
        "update": codec.encode(block.body.updates[0]).hex(),
        "header": codec.encode(block.header).hex(),
        "value_id": block.header.value_id.hex(),
        "commit": codec.encode(block.commit).hex(),
    } == {name: value for name, value in FROZEN.items() if name != "snapshot"}


def test_the_frozen_bytes_are_read_back() -> None:
    block = steps(1)[0].block
    for name, kind, value in (
        ("update", UpdateHeader, block.body.updates[0]),
        ("header", Header, block.header),
        ("commit", CommitCert, block.commit),
    ):
        assert codec.decode(bytes.fromhex(FROZEN[name]), kind, 10_000) == value


def test_a_snapshot_of_known_keys_has_the_frozen_bytes() -> None:
    step = steps(1)[0]
    light = LightBlock(
        step.block.header, step.block.commit, step.state.last_validators, step.state.validators
    )
    body_bytes = len(codec.encode(step.block.body))
    snapshot = snapshot_of(light, encode_ledger(step.state.ledger), body_bytes, genesis())
    assert codec.encode(snapshot).hex() == FROZEN["snapshot"]
    assert codec.decode(bytes.fromhex(FROZEN["snapshot"]), Snapshot, 10_000) == snapshot


@pytest.mark.parametrize("length", [1, 31, 255, 256, 65_535, 65_536])
@pytest.mark.parametrize("count", [1, 127, 128, 300, 70_000])
def test_a_chunk_has_one_spelling_and_every_other_is_refused(length: int, count: int) -> None:
    chunk = Chunk(count, b"d" * length, (b"p" * 32,) * (count % 18))
    data = codec.encode(chunk)
    assert decode_response(data) == decode_response(bytearray(data)) == chunk
    wider = {
        1: (b"\x1e\x01", b"\x1e\xcc\x01"),
        300: (b"\xcd\x01\x2c", b"\xd1\x01\x2c"),  # As long, but signed.
    }
    head = data[:12]
    for plain, other in [wider.get(count, (b"", b"")), (b"\xc4", b"\xc5\x00"), (b"\xc5", b"\xc6\x00\x00")]:
        if plain and plain in head:
            with pytest.raises(MalformedMessage):
                decode_response(data.replace(plain, other, 1))
    with pytest.raises(MalformedMessage):
        decode_response(data + b"\x00")
