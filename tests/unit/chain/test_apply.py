"""Catching up by certificates reaches the same state as checking every aggregate."""

from __future__ import annotations

import msgspec
import pytest
from support.chain import World, small_model
from support.mutate import mutations

from p2pfed.chain.apply import apply_certified, with_model
from p2pfed.chain.check import check
from p2pfed.chain.state import ChainState, genesis_state
from p2pfed.errors import InvalidBlock, InvalidCertificate, MalformedMessage
from p2pfed.types.block import Block

EQUAL = [100] * 4


def assert_same_roots(first: ChainState, second: ChainState) -> None:
    for name in (
        "height", "header_hash", "time_ms", "train_index", "seed", "ledger", "header", "model_root",
        "exponents_root", "validators", "next_validators", "trainers", "expected_trainers",
    ):  # fmt: skip
        assert getattr(first, name) == getattr(second, name), name
    assert first.ledger.root == second.ledger.root


def test_catching_up_equals_taking_part_in_every_root() -> None:
    world = World([100] * 7)
    start = genesis_state(world.genesis, small_model())
    full, caught_up = start, start
    for height in range(1, 8):
        changes = {}
        if height == 2:
            changes = {"evidence": (world.double_vote(3),)}
        if height == 3:
            changes = {"headers": ()}
        if height == 5:
            changes = {"transactions": (world.transfer(0, 1, 7, 3, 0),)}
        block = world.advance(**changes)
        full = check(full, block.header, block.body, world.payload)
        caught_up = apply_certified(caught_up, block)
        assert_same_roots(full, caught_up)
        assert_same_roots(full, world.state)
        assert caught_up.model is None
    assert full.model is not None
    assert_same_roots(with_model(caught_up, full.model), full)


def test_an_empty_block_keeps_a_model_that_is_there() -> None:
    world = World(EQUAL)
    start = world.state
    block = world.advance(headers=())
    after = apply_certified(start, block)
    assert after.model is start.model
    assert after.model_root == world.genesis.model_root
    assert apply_certified(after, world.advance()).model is None


def test_no_leaf_of_a_certificate_can_be_another() -> None:
    world = World(EQUAL)
    start = world.state
    block = world.advance()
    for _, commit in mutations(block.commit):
        with pytest.raises(InvalidCertificate):
            apply_certified(start, msgspec.structs.replace(block, commit=commit))


def test_no_leaf_of_a_certified_header_or_body_can_be_another() -> None:
    world = World(EQUAL)
    start = world.state
    block = world.advance()
    for _, header in mutations(block.header):
        with pytest.raises(InvalidCertificate):
            apply_certified(start, msgspec.structs.replace(block, header=header))
    for place in range(3):
        body = msgspec.structs.replace(block.body, avails=block.body.avails[:place])
        with pytest.raises(MalformedMessage, match="the body has hash"):
            apply_certified(start, msgspec.structs.replace(block, body=body))


def test_a_block_without_a_quorum_is_not_final() -> None:
    world = World(EQUAL)
    header, body, _ = world.build()
    weak = world.certify(header)
    weak = msgspec.structs.replace(weak, bitmap=b"\x03", signatures=weak.signatures[:2])
    with pytest.raises(InvalidCertificate, match="200 of 400"):
        apply_certified(world.state, Block(header, body, weak))
    apply_certified(world.state, Block(header, body, world.certify(header, [0, 2, 3])))


def test_a_quorum_that_signs_a_wrong_block_is_caught_by_our_own_check() -> None:
    world = World(EQUAL)
    header, body, _ = world.build()
    wrong = msgspec.structs.replace(header, state_root=bytes(32))
    with pytest.raises(InvalidBlock, match="state_root is 0000"):
        apply_certified(world.state, Block(wrong, body, world.certify(wrong)))


def test_a_block_of_another_height_is_no_next_block() -> None:
    world = World(EQUAL)
    start = world.state
    world.advance()
    second = world.advance()
    with pytest.raises(InvalidCertificate, match="at 2, the block is"):
        apply_certified(start, second)


def test_only_the_agreed_model_completes_a_state() -> None:
    world = World(EQUAL)
    start = world.state
    caught_up = apply_certified(start, world.advance())
    assert world.state.model is not None
    good = world.state.model
    assert with_model(caught_up, good).model is good
    with pytest.raises(MalformedMessage, match="model root"):
        with_model(caught_up, small_model())
    exponents = type(good)(good.weights, good.update_exponents + 1, good.model_exponents)
    with pytest.raises(MalformedMessage, match="exponents root"):
        with_model(caught_up, exponents)
