"""E5: the proof that an update breaks the static rules, small and for everybody to check."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from p2pfed.aggregation.payload import PayloadForm, encode_payload
from p2pfed.chain.invalid_update import (
    has_valid_form,
    invalid_header,
    judge_payload,
    opening,
    verify_invalid_update,
)
from p2pfed.errors import MalformedMessage
from p2pfed.primitives import codec
from p2pfed.primitives.merkle import LEAF_BYTES, chunk_root, leaf_hash, path_of_hashes, root_of_hashes
from p2pfed.types.evidence import InvalidUpdate
from p2pfed.types.model import ArraySpec, Manifest
from p2pfed.types.params import EVIDENCE_BYTES_MAX
from p2pfed.types.update import UpdateHeader

ELEMENTS = LEAF_BYTES // 2
SIZE = 3 * ELEMENTS + 7  # Four leaves, the last one short.
MANIFEST = Manifest((ArraySpec("weight", (SIZE,), "float32", "trained", nonnegative=False),))
FORM = PayloadForm(MANIFEST)


def update(data: bytes, **changes: object) -> UpdateHeader:
    header = UpdateHeader(b"\x02" * 33, 4, bytes(32), len(data), chunk_root(data), 0, 9, bytes(64))
    return replace(header, **changes)


def payload(*forbidden: int) -> bytes:
    values = np.arange(SIZE, dtype=np.int64) % 65535 - 32767
    values[list(forbidden)] = -32768
    return encode_payload(values.astype(np.int16))


@pytest.mark.parametrize("place", [0, ELEMENTS - 1, ELEMENTS, 3 * ELEMENTS, SIZE - 1])
def test_a_forbidden_element_is_shown_by_its_leaf(place: int) -> None:
    data = payload(place)
    is_valid, proof = judge_payload(update(data), data, FORM)
    assert not is_valid
    assert proof is not None
    assert proof.index == place // ELEMENTS
    assert len(proof.leaf) <= LEAF_BYTES
    verify_invalid_update(proof, FORM)


def test_a_valid_payload_accuses_nobody() -> None:
    data = payload()
    assert judge_payload(update(data), data, FORM) == (True, None)


def test_bytes_of_another_length_than_the_header_says_are_invalid_and_prove_nothing() -> None:
    data = payload(3)[:-2]
    header = update(data, payload_bytes=2 * SIZE)
    assert judge_payload(header, data, FORM) == (False, None)


@pytest.mark.parametrize("changes", [{"codec": 1}, {"payload_bytes": 2 * SIZE + 2}, {"payload_bytes": 0}])
def test_a_header_without_a_valid_form_is_the_whole_proof(changes: dict[str, int]) -> None:
    header = update(payload(), **changes)
    assert not has_valid_form(header, FORM)
    proof = invalid_header(header)
    verify_invalid_update(proof, FORM)
    for other in (replace(proof, index=1), replace(proof, leaf=b"x"), replace(proof, path=(bytes(32),))):
        with pytest.raises(MalformedMessage, match="nothing is to be opened"):
            verify_invalid_update(other, FORM)


def test_an_honest_update_can_not_be_framed() -> None:
    honest, bad = payload(), payload(5)
    header = update(honest)
    proofs = [
        invalid_header(header),
        replace(opening(header, honest, 0), leaf=opening(update(bad), bad, 0).leaf),
        replace(opening(update(bad), bad, 0), update=header),
        *(
            InvalidUpdate(header, index, honest[index * LEAF_BYTES : (index + 1) * LEAF_BYTES], path)
            for index in range(5)
            for path in (opening(header, honest, min(index, 3)).path, ())
        ),
        opening(header, honest, 0),  # Its smallest element is allowed.
    ]
    for proof in proofs:
        with pytest.raises(MalformedMessage):
            verify_invalid_update(proof, FORM)


def test_a_proof_is_of_no_use_at_another_place() -> None:
    data = payload(ELEMENTS)
    proof = opening(update(data), data, 1)
    for other in (
        replace(proof, index=2),
        replace(proof, path=proof.path[:-1]),
        replace(proof, index=1 << 18),
    ):
        with pytest.raises(MalformedMessage):
            verify_invalid_update(other, FORM)


@pytest.mark.parametrize("leaf", [b"", b"\0", b"\0\x80"], ids=["empty", "odd", "short"])
def test_a_leaf_that_no_payload_has_proves_nothing(leaf: bytes) -> None:
    """A trainer can sign the root of any tree; what counts is the tree that its length asks for."""
    hashes = [leaf_hash(leaf)] * 4
    header = update(payload(), payload_root=root_of_hashes(hashes))
    for index in range(4):
        proof = InvalidUpdate(header, index, leaf, path_of_hashes(hashes, index))
        with pytest.raises(MalformedMessage):
            verify_invalid_update(proof, FORM)


def test_three_proofs_against_the_largest_models_fit_into_a_block() -> None:
    proof = InvalidUpdate(update(b""), 1 << 18, bytes(LEAF_BYTES), (bytes(32),) * 18)
    assert 3 * len(codec.encode(proof)) <= EVIDENCE_BYTES_MAX


CODED = (
    ("int8", 1, 20, b"\x80"),
    ("int4", 1, 20, b"\x88"),
    ("sign", 1, 1, b"\xff"),
    ("rand_k", 2, 0, b"\x00\x80"),
    ("top_k", 2, 1, b"\xff"),
)


@pytest.mark.parametrize(("codec", "one_in", "place", "byte"), CODED)
def test_a_byte_that_a_codec_never_has_convicts_and_an_honest_payload_does_not(
    codec: str, one_in: int, place: int, byte: bytes
) -> None:
    form = PayloadForm(Manifest((ArraySpec("weight", (9_000,), "float32", "trained", False),)), codec, one_in)
    honest = form.encode(np.arange(-4500, 4500).astype(np.int16), bytes(32))
    header = update(honest, codec=form.number)
    assert judge_payload(header, honest, form) == (True, None)
    for index in range(-(-len(honest) // LEAF_BYTES)):
        with pytest.raises(MalformedMessage):
            verify_invalid_update(opening(header, honest, index), form)
    bad = honest[:place] + byte + honest[place + len(byte) :]
    is_valid, proof = judge_payload(update(bad, codec=form.number), bad, form)
    assert not is_valid
    assert proof is not None
    verify_invalid_update(proof, form)


def test_indices_that_fall_from_leaf_to_leaf_are_refused_and_prove_nothing() -> None:
    form = PayloadForm(Manifest((ArraySpec("weight", (40_000,), "float32", "trained", False),)), "top_k", 2)
    words = np.frombuffer(form.encode((np.arange(40_000) // 2).astype(np.int16), bytes(32)), "<u2").copy()
    assert words[LEAF_BYTES // 2 - 1] < words[LEAF_BYTES // 2]
    words[LEAF_BYTES // 2 :][:3] = (0, 1, 2)
    bad = words.tobytes()
    assert judge_payload(update(bad, codec=form.number), bad, form) == (False, None)
