"""What a block did to the validator set, and what it says of the last model, told to people."""

from __future__ import annotations

import msgspec
from support.chain import NO_SIGNATURE, World

from p2pfed.node.facts import ModelJudged, ModelRejected, SetChanged, ValidatorJailed
from p2pfed.node.gate_facts import gate_facts
from p2pfed.node.stake_facts import stake_facts
from p2pfed.types.quality import QUALITY_ONE, Quality


def test_only_a_block_that_changes_the_set_tells_who_comes_and_who_goes() -> None:
    world = World([10, 10, 10, 10, 0])
    assert stake_facts(world.advance(), world.state) == ()
    block = world.advance(transactions=(world.bond(4, 3, 0, 0),), evidence=(world.double_vote(1),))
    newcomer, liar = world.publics[4], world.publics[1]
    assert stake_facts(block, world.state) == (SetChanged(2, 4, (newcomer,), (liar,), 33),)
    assert stake_facts(world.advance(), world.state) == ()


def test_a_jail_is_told_of_the_block_that_put_somebody_in() -> None:
    world = World([10, 10, 10, 10])
    block = world.advance()
    stakes = world.state.ledger.staking.stakes
    for at, told in ((1, (ValidatorJailed(1, stakes[2].key),)), (7, ())):
        jailed = tuple(
            msgspec.structs.replace(stake, jailed_at=at if place == 2 else 0)
            for place, stake in enumerate(stakes)
        )
        staking = msgspec.structs.replace(world.state.ledger.staking, stakes=jailed)
        ledger = msgspec.structs.replace(world.state.ledger, staking=staking)
        assert stake_facts(block, msgspec.structs.replace(world.state, ledger=ledger)) == told


def test_what_was_said_of_a_model_is_told_with_the_best_before_and_where_it_goes() -> None:
    world = World([10, 10, 10, 10], gate_drop=QUALITY_ONE // 10)

    def told(score: int, voices: int) -> tuple[object, ...]:
        before, said = world.state, []
        for public in world.publics[:voices]:
            word = Quality(before.height, public, score, b"", NO_SIGNATURE)
            said.append(world.sign(word, world.keys[public]))
        return gate_facts(world.advance(qualities=tuple(said)), before, world.state)

    assert gate_facts(world.advance(), World([10]).state, world.state) == ()  # There is no model at genesis.
    assert told(40_000, 2) == (ModelJudged(1, -1, -1, 2),)  # Two of four are too few.
    assert told(40_000, 3) == (ModelJudged(2, 40_000, -1, 3),)
    assert told(38_000, 4) == (ModelJudged(3, 38_000, 40_000, 4),)
    assert told(9_000, 4) == (ModelJudged(4, 9_000, 40_000, 4), ModelRejected(4, 9_000, 2, 40_000))
