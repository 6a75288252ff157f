"""The verifier that shares no code with p2pfed judges every kind of evidence alike."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.chain import World

from p2pfed.chain.evidence import conviction_of
from p2pfed.errors import PeerFault
from p2pfed.primitives import codec
from p2pfed.types.evidence import Evidence
from p2pfed.types.genesis import encode_genesis

PROGRAM = Path(__file__).parents[3] / "p2pfed" / "independent" / "verify.py"
SPEC = importlib.util.spec_from_file_location("stand_alone_evidence", PROGRAM)
assert SPEC is not None
assert SPEC.loader is not None
VERIFY = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(VERIFY)
WORLD = World([10, 10, 10, 10])
PROOFS = WORLD.all_evidence(1)


def mutants(value: Any) -> Iterator[Any]:
    """Yield `value`, an unpacked message, with each of its fields changed a little."""
    for place, field in enumerate(value[1:], 1):
        others: list[Any] = []
        if isinstance(field, list):
            others = list(mutants(field)) if field and isinstance(field[0], int) else [[*field, bytes(32)]]
        elif isinstance(field, bytes):
            others = [field[:-1] + bytes([field[-1] ^ 1])] if field else [b"\0"]
        elif isinstance(field, int):
            others = [field + 1, field - 1] if field > 0 else [field + 1]
        for other in others:
            yield [*value[:place], other, *value[place + 1 :]]
    if len(value) == 3:
        yield [value[0], value[2], value[1]]


def is_proof(evidence: list[Any]) -> bool:
    try:
        item = codec.decode(VERIFY.pack(evidence), Evidence, 1 << 18)  # type: ignore[arg-type]
        conviction_of(WORLD.state, item)
    except PeerFault:
        return False
    return True


@pytest.mark.parametrize("proof", PROOFS, ids=lambda proof: type(proof).__name__)
def test_both_programs_judge_evidence_alike(proof: Any) -> None:
    chain = VERIFY.Chain(msgspec.msgpack.decode(encode_genesis(WORLD.genesis)))
    honest = msgspec.msgpack.decode(codec.encode(proof))
    culprit = WORLD.publics[1]
    assert chain._convicted([honest], 1) == [(culprit, conviction_of(WORLD.state, proof).offence, 1)]
    tried = list(mutants(honest))
    assert len(tried) > 12
    assert not any(map(is_proof, tried))
    for bad in tried:
        # What has another shape is damage too; the program says so where it reads a block.
        with pytest.raises((VERIFY.Damage, KeyError, IndexError, TypeError, ValueError)):
            chain._convicted([bad], 1)
