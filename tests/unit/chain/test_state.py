"""What a peer knows after a block, and what it can get back from its disk."""

from __future__ import annotations

import numpy as np
import pytest
from support.chain import World, make_genesis, small_model
from support.mutate import mutations

from p2pfed.chain.state import decode_ledger, encode_ledger, genesis_state, restore
from p2pfed.errors import LocalError, StorageFault
from p2pfed.primitives.digest import tagged
from p2pfed.types.model import ModelState

EQUAL = [100] * 4


def test_genesis_starts_with_everybody_and_the_model_it_names() -> None:
    world = World([5, 6, 7])
    state = world.state
    assert (state.height, state.next_height, state.train_index) == (0, 1, 0)
    assert state.header_hash == bytes(32)
    assert state.seed == state.chain_id == world.genesis.chain_id
    assert state.validators == state.next_validators == world.genesis.validators
    assert state.trainers == state.expected_trainers == tuple(world.publics)
    assert state.trainer_bonds == (5, 6, 7)
    assert state.model is not None
    assert state.model_root == state.model.root
    assert state.exponents_root == state.model.exponents_root


def test_a_state_may_be_without_its_model() -> None:
    world = World(EQUAL)
    state = genesis_state(world.genesis, None)
    assert state.model is None
    assert (state.model_root, state.exponents_root) == (world.state.model_root, world.state.exponents_root)


def test_the_roots_of_a_state_are_those_of_its_model_whether_it_is_here_or_not() -> None:
    world = World(EQUAL, update_bits=10)  # The first updates are larger than that: exponents follow.
    roots = [world.state.exponents_root]
    for headers in (world.updates(), ()):
        world.advance(headers=headers)
        state = world.state
        assert state.model is not None
        assert state.header is not None
        assert (state.model_root, state.exponents_root) == (state.model.root, state.model.exponents_root)
        again = restore(world.genesis, state.header, encode_ledger(state.ledger), None)
        assert (again.model_root, again.exponents_root) == (state.model_root, state.exponents_root)
        roots.append(state.exponents_root)
    assert roots[0] != roots[1] == roots[2]


def test_genesis_refuses_another_model() -> None:
    model = small_model()
    for other in (
        ModelState(model.weights + 1, model.update_exponents, model.model_exponents),
        ModelState(model.weights, model.update_exponents, (model.model_exponents - 1).astype(np.int8)),
    ):
        with pytest.raises(LocalError, match="not the model of genesis"):
            genesis_state(make_genesis(EQUAL), other)


def test_negative_exponents_have_one_root() -> None:
    model = small_model()
    cold = ModelState(model.weights, np.array([-8, -1], np.int8), np.array([0, 6], np.int8))
    genesis = make_genesis(EQUAL, update_exponents=(-8, -1), model_exponents=(0, 6))
    assert genesis_state(genesis, cold).exponents_root == cold.exponents_root


def test_the_seed_follows_the_chain() -> None:
    world = World(EQUAL)
    first = world.advance()
    assert world.state.seed == tagged("seed", world.genesis.chain_id + bytes(32))
    before = world.state.seed
    world.advance()
    assert world.state.seed == tagged("seed", before + first.header.value_id)


def test_who_is_expected_is_who_was_there_last() -> None:
    world = World(EQUAL)
    for _ in range(2):
        world.advance(headers=world.updates()[1:])
    assert world.state.expected_trainers == tuple(world.publics)  # Height 3 still waits for all.
    world.advance(headers=world.updates()[1:])
    assert world.state.expected_trainers == tuple(world.publics[1:])
    world.advance(headers=())
    assert world.state.expected_trainers == tuple(world.publics[1:])  # An EMPTY height tells nothing.
    world.advance()
    assert world.state.expected_trainers == tuple(world.publics)


def test_the_first_three_heights_wait_for_all_wherever_a_network_begins() -> None:
    world = World(EQUAL, height_first=1000)
    for _ in range(2):
        world.advance(headers=world.updates()[1:])
    assert world.state.expected_trainers == tuple(world.publics)
    world.advance(headers=world.updates()[1:])
    assert world.state.expected_trainers == tuple(world.publics[1:])


def test_all_are_waited_for_where_nobody_of_the_last_height_may_train() -> None:
    world = World(EQUAL, rules=("mean",))
    for _ in range(3):
        world.advance(headers=world.updates()[:2])
    assert world.state.expected_trainers == tuple(world.publics[:2])
    world.advance(headers=(), evidence=(world.bad_update(0), world.bad_update(1)))
    assert world.state.expected_trainers == world.state.trainers == tuple(world.publics[2:])


def test_a_convicted_trainer_is_not_waited_for() -> None:
    world = World([100] * 7)
    for _ in range(3):
        world.advance()
    world.advance(evidence=(world.double_vote(2),))
    assert world.state.expected_trainers == tuple(key for key in world.publics if key != world.publics[2])


def test_a_state_comes_back_from_disk_whole() -> None:
    world = World(EQUAL)
    world.advance(evidence=(world.double_proposal(0),), transactions=(world.transfer(1, 2, 3, 4, 0),))
    state = world.state
    assert state.header is not None
    again = restore(world.genesis, state.header, encode_ledger(state.ledger), state.model)
    for name in ("height", "header_hash", "time_ms", "train_index", "seed", "ledger", "header", "model"):
        assert getattr(again, name) == getattr(state, name), name
    world.state = again
    world.advance()
    assert restore(world.genesis, state.header, encode_ledger(state.ledger), None).model is None


def test_no_leaf_of_a_stored_ledger_can_be_another() -> None:
    world = World(EQUAL)
    world.advance(evidence=(world.double_vote(0),))
    header, ledger = world.state.header, world.state.ledger
    assert header is not None
    for _, mutated in mutations(ledger):
        with pytest.raises(StorageFault, match="damaged"):
            restore(world.genesis, header, encode_ledger(mutated), None)
    with pytest.raises(StorageFault, match="damaged"):
        restore(world.genesis, header, encode_ledger(ledger)[:-1], None)
    with pytest.raises(StorageFault, match="damaged"):
        restore(world.genesis, header, encode_ledger(ledger), small_model())
    with pytest.raises(StorageFault, match="of network"):
        restore(make_genesis([1]), header, encode_ledger(ledger), None)
    assert decode_ledger(encode_ledger(ledger)) == ledger


def test_conviction_changes_the_set_two_heights_later_and_not_before() -> None:
    world = World([100] * 7)
    whole, culprit = world.genesis.validators, world.publics[3]
    world.advance(evidence=(world.double_vote(3),))
    assert world.state.validators == whole
    assert len(world.state.next_validators) == 6
    assert world.state.next_validators.index_of(culprit) is None
    second = world.advance()
    assert second.header.validators_hash == whole.hash
    assert second.header.next_validators_hash == world.state.validators.hash != whole.hash
    third = world.advance()
    assert third.header.validators_hash != whole.hash
    assert len(third.body.avails) == len(third.commit.signatures) == 6
    world.advance()
    assert world.state.validators_at(2) == whole


def test_evidence_of_a_height_is_judged_by_the_set_of_that_height() -> None:
    world = World([100] * 7)
    late = world.double_vote(5, 1)
    culprit = world.publics[5]
    world.advance(evidence=(world.double_vote(3),))
    world.advance()
    assert world.state.validators.index_of(culprit) == 4
    world.advance(evidence=(late,))
    stake = world.state.ledger.stake(culprit)
    assert stake is not None
    assert stake.tombstoned
    # Both lied within one window of 64 heights: 3 * 100 * (100 + 100) div 700.
    assert stake.bond == world.state.ledger.stake(world.publics[3]).bond == 100 - 85
