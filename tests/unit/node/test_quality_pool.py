"""Which words on quality a peer keeps for the next block, and whom it blames."""

from __future__ import annotations

import msgspec
import pytest
from support.chain import NO_SIGNATURE, World

from p2pfed.errors import BadSignature, OutOfBounds
from p2pfed.node.quality_pool import QualityPool
from p2pfed.types.quality import Quality


def gated() -> World:
    world = World([10, 10, 12, 13], gate_drop=6_000)
    world.advance()
    return world


def word(world: World, sender: int, height: int, score: int = 1) -> Quality:
    public = world.publics[sender]
    return world.sign(Quality(height, public, score, b"", NO_SIGNATURE), world.keys[public])


def test_one_word_a_validator_on_the_last_model_and_on_the_next_is_kept() -> None:
    world, pool = gated(), QualityPool()
    assert pool.add(word(world, 0, 1), world.state)
    assert not pool.add(word(world, 0, 1, score=9), world.state)  # The first one stands.
    assert pool.add(word(world, 1, 1), world.state)
    assert pool.add(word(world, 0, 2), world.state)  # Its sender has the next block already.
    assert not pool.add(word(world, 0, 0), world.state)
    assert not pool.add(word(world, 0, 3), world.state)
    assert [said.sender for said in pool.select(1)] == world.publics[:2]
    world.advance()
    pool.prune(world.state.height)
    assert len(pool) == 1
    assert [said.height for said in pool.select(2)] == [2]


def test_who_has_no_vote_or_signs_for_another_is_blamed() -> None:
    world, pool = gated(), QualityPool()
    good = word(world, 0, 1)
    with pytest.raises(BadSignature):
        pool.add(msgspec.structs.replace(good, score=2), world.state)
    with pytest.raises(OutOfBounds, match="no vote"):
        pool.add(msgspec.structs.replace(good, sender=b"\x02" * 33), world.state)
    free = World([10, 10, 12, 13])
    with pytest.raises(OutOfBounds, match="no gate"):
        pool.add(good, free.state)
    assert len(pool) == 0
