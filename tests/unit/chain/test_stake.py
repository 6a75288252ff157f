"""Who bonds votes two heights later, in blocks that others check; heights go on when no rule holds."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from support.chain import World, small_model

from p2pfed.chain.apply import apply_certified
from p2pfed.chain.check import check
from p2pfed.chain.derive import signs_of_life
from p2pfed.chain.light import Search, rules_of, tell, trusted_genesis
from p2pfed.chain.state import ChainState, encode_ledger, genesis_state, restore
from p2pfed.errors import InvalidBlock
from p2pfed.types.bitmap import indices_of
from p2pfed.types.block import Block
from p2pfed.types.light import LightBlock

EQUAL = (10, 10, 10, 10, 0)  # The last one has an account only.


def joined_world(heights: int) -> tuple[World, list[tuple[ChainState, Block]]]:
    """Return a network whose fifth bonds in block 2 and whose second lies in block 3, and its blocks."""
    world, history = World(EQUAL), list[tuple[ChainState, Block]]()
    for height in range(1, heights + 1):
        before, changes = world.state, {}
        if height == 2:
            changes = {"transactions": (world.bond(4, 5, 0, 0),)}
        elif height == 3:
            changes = {"evidence": (world.double_vote(1),)}
        history.append((before, world.advance(**changes)))
    return world, history


def test_who_bonds_votes_and_trains_two_heights_later() -> None:
    world, history = joined_world(6)
    newcomer, liar = world.publics[4], world.publics[1]
    for before, block in history:
        height, voters = block.header.height, before.validators
        assert (voters.index_of(newcomer) is not None) is (height >= 4)
        assert (voters.index_of(liar) is not None) is (height < 5)
        assert len(indices_of(block.commit.bitmap, len(voters))) == len(voters)
        trainers = [update.trainer for update in block.body.updates]
        assert (newcomer in trainers) is (height >= 4)
        assert (liar in trainers) is (height < 4)


def test_others_check_and_catch_up_over_changes_of_the_set() -> None:
    world, history = joined_world(6)
    state = genesis_state(world.genesis, small_model())
    for before, block in history:
        checked = check(before, block.header, block.body, world.payload)
        state = apply_certified(state, block)
        assert state.ledger == checked.ledger
        again = restore(world.genesis, block.header, encode_ledger(state.ledger), None)
        assert again.validators == state.validators
        assert again.next_validators == state.next_validators
        assert again.trainers == checked.trainers


def test_a_light_client_follows_changes_of_the_set() -> None:
    world, history = joined_world(6)
    blocks = {
        block.header.height: LightBlock(block.header, block.commit, before.validators, before.next_validators)
        for before, block in history
    }
    search = Search(trusted_genesis(world.genesis), 6)
    while search.wanted is not None:
        search, _ = tell(search, blocks[search.wanted], rules_of(world.genesis), world.state.time_ms)
    assert search.trusted.value_id == world.state.header_hash
    assert search.trusted.next_validators == world.state.validators


def test_a_change_after_which_no_rule_holds_makes_heights_empty_and_another_one_mends_it() -> None:
    # The two smallest of five hold less than a third: f = 2. With one bond more it is three: 2f < n fails.
    world = World((30, 30, 10, 10, 10))
    assert not world.advance().header.is_empty
    world.advance(transactions=(world.bond(0, 11, 0, 0),))
    world.advance()
    lost = world.advance().header
    assert lost.is_empty
    assert lost.train_index == 3
    model_root = lost.model_root
    world.advance(transactions=(world.unbond(0, 11, 0, 1),))
    assert world.advance().header.model_root == model_root
    assert not world.advance().header.is_empty


def test_any_of_three_signs_of_life_counts() -> None:
    world = World((10, 10, 10, 10))
    world.advance(headers=())
    everybody = world.avails(())
    header, body, _ = world.build(headers=(), avails=everybody[:3])
    three = frozenset(world.publics[:3])
    silent = replace(body, last_commit=replace(body.last_commit, bitmap=b"\x07"))
    assert signs_of_life(world.state, silent) == three
    assert signs_of_life(world.state, body) == frozenset(world.publics)  # It signed the last commit.
    trained = replace(silent, updates=(world.update(3),))
    assert signs_of_life(world.state, trained) == frozenset(world.publics)
    assert header.height == 2


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_block_whose_change_of_stake_the_ledger_refuses_is_invalid(place: int) -> None:
    world = World(EQUAL)
    refused = (world.bond(4, 1001, 0, 0), world.unbond(0, 11, 0, 0), world.unjail(0, 0, 0))[place]
    header, body, _ = world.build(transactions=(refused,))
    assert body.transactions == ()  # A proposer leaves it out.
    bad = replace(body, transactions=(refused,))
    with pytest.raises(InvalidBlock, match="the ledger refuses the block"):
        check(world.state, replace(header, body_hash=bad.hash()), bad, world.payload)
