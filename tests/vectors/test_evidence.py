"""Every kind of evidence has its frozen bytes, and convicts the same participant of the same offence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.chain import World

from p2pfed.chain.evidence import conviction_of
from p2pfed.primitives import codec
from p2pfed.types.wire import decode_control

FROZEN = json.loads(Path(__file__).with_name("evidence.json").read_text(encoding="utf-8"))
WORLD = World([10, 10, 10, 10])


def made() -> dict[str, object]:
    """Return the vectors as this code makes them: keys 1 to 4, the genesis of `support.chain`."""
    proofs = {
        type(proof).__name__: {
            "bytes": codec.encode(proof).hex(),
            "offence": int(conviction_of(WORLD.state, proof).offence),
            "culprit": conviction_of(WORLD.state, proof).culprit.hex(),
        }
        for proof in WORLD.all_evidence(2)
    }
    return {"chain_id": WORLD.genesis.chain_id.hex(), "proofs": proofs}


def test_evidence_of_known_keys_has_the_frozen_bytes() -> None:
    assert made() == FROZEN


@pytest.mark.parametrize("name", FROZEN["proofs"])
def test_the_frozen_bytes_are_read_back_from_the_wire(name: str) -> None:
    proof = decode_control(bytes.fromhex(FROZEN["proofs"][name]["bytes"]))
    assert type(proof).__name__ == name
