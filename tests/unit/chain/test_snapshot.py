"""A manifest is held against its own header, and a ledger against the state root: whoever lies is named."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from support.chain import World
from support.tiny_chain import genesis, steps

from p2pfed.chain.snapshot import block_of, model_of, snapshot_of, state_after, verify_parts
from p2pfed.chain.state import encode_ledger
from p2pfed.errors import InvalidSnapshot, PeerFault
from p2pfed.ledger.state import LEDGER_BYTES_MAX
from p2pfed.primitives import codec
from p2pfed.types.light import LightBlock
from p2pfed.types.snapshot import LEDGER, MODEL, Part, Snapshot

STEP = steps(3)[-1]
STATE, HEADER, BODY = STEP.state, STEP.block.header, codec.encode(STEP.block.body)
LEDGER_BYTES = encode_ledger(STATE.ledger)
LIGHT = LightBlock(HEADER, STEP.block.commit, STATE.last_validators, STATE.validators)
GOOD = snapshot_of(LIGHT, LEDGER_BYTES, len(BODY), genesis())


def with_part(kind: str, **changes: object) -> Snapshot:
    parts = tuple(
        msgspec.structs.replace(part, **changes) if part.kind == kind else part for part in GOOD.parts
    )
    return msgspec.structs.replace(GOOD, parts=parts)


def test_the_parts_of_a_state_make_it_again() -> None:
    verify_parts(GOOD, genesis())
    assert block_of(GOOD, BODY) == STEP.block
    state = state_after(GOOD, genesis(), LEDGER_BYTES)
    assert (state.height, state.header_hash, state.ledger) == (3, HEADER.value_id, STATE.ledger)
    assert (state.time_ms, state.train_index) == (STATE.time_ms, STATE.train_index)
    assert state.model is None
    assert STATE.model is not None
    whole = model_of(state, STATE.model.weights, STATE.model.exponents_bytes())
    assert whole.model is not None
    assert whole.model.root == HEADER.model_root
    assert GOOD.size == sum(part.length for part in GOOD.parts)


@pytest.mark.parametrize(
    ("bad", "values"),
    [
        (with_part(MODEL, root=bytes(32)), (bytes(32).hex(), HEADER.model_root.hex())),
        (with_part("body", root=bytes(32)), (bytes(32).hex(), HEADER.body_hash.hex())),
        (with_part("exponents", root=bytes(32)), (bytes(32).hex(), HEADER.exponents_root.hex())),
        (with_part(MODEL, length=36), ("36", "32")),
        (with_part(LEDGER, length=LEDGER_BYTES_MAX + 1), (str(LEDGER_BYTES_MAX + 1), str(LEDGER_BYTES_MAX))),
        (msgspec.structs.replace(GOOD, parts=GOOD.parts[1:]), ("'body'", "'ledger'")),
        (
            msgspec.structs.replace(GOOD, parts=(*GOOD.parts, Part("optimizer", 1, bytes(32)))),
            ("'optimizer'", "'ledger'"),
        ),
    ],
)
def test_a_manifest_that_contradicts_its_header_names_both_values(
    bad: Snapshot, values: tuple[str, str]
) -> None:
    with pytest.raises(InvalidSnapshot) as refusal:
        verify_parts(bad, genesis())
    assert all(value in str(refusal.value) for value in values)
    assert issubclass(InvalidSnapshot, PeerFault)


def test_another_ledger_than_the_one_under_the_state_root_is_refused_with_both_roots() -> None:
    other = steps(2)[-1].state.ledger
    with pytest.raises(InvalidSnapshot) as refusal:
        state_after(GOOD, genesis(), encode_ledger(other))
    assert other.root.hex() in str(refusal.value)
    assert HEADER.state_root.hex() in str(refusal.value)
    with pytest.raises(InvalidSnapshot):
        state_after(GOOD, genesis(), b"\xc1")


def test_older_exponents_and_a_velocity_come_with_the_model() -> None:
    world = World([1] * 4, update_lag=3, outer_momentum=58982)
    block = world.advance()
    state, model = world.state, world.state.model
    assert model is not None
    light_block = LightBlock(block.header, block.commit, state.last_validators, state.validators)
    ledger = encode_ledger(state.ledger)
    snapshot = snapshot_of(light_block, ledger, len(codec.encode(block.body)), world.genesis)
    verify_parts(snapshot, world.genesis)
    assert [part.length for part in snapshot.parts[2:]] == [2 * (2 + 2), 4 * 2 * 16]
    values = np.concatenate([model.weights, model.velocity])
    again = model_of(state_after(snapshot, world.genesis, ledger), values, model.exponents_bytes()).model
    assert again is not None
    assert again.root == block.header.model_root
    assert again.exponents_root == block.header.exponents_root
