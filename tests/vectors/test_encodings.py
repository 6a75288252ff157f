"""Encodings, ids and signatures are the frozen ones: they change only with the spec and a decision record."""

from __future__ import annotations

import json
from pathlib import Path

from support.tiny_chain import genesis, steps

from p2pfed.chain.snapshot import snapshot_of
from p2pfed.chain.state import encode_ledger
from p2pfed.primitives import codec
from p2pfed.types.block import Header
from p2pfed.types.certificate import CommitCert
from p2pfed.types.light import LightBlock
from p2pfed.types.snapshot import Snapshot
from p2pfed.types.update import UpdateHeader

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
    snapshot = snapshot_of(light, encode_ledger(step.state.ledger), body_bytes, genesis().manifest)
    assert codec.encode(snapshot).hex() == FROZEN["snapshot"]
    assert codec.decode(bytes.fromhex(FROZEN["snapshot"]), Snapshot, 10_000) == snapshot
