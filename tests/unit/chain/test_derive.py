"""A merge uses what genesis chose and what the trainers claimed."""

from __future__ import annotations

import pytest
from support.chain import World, small_model

from p2pfed.aggregation.engine import merge


def test_claims_weigh_up_to_the_cap_of_genesis() -> None:
    claims = (10, 20, 30, 10_000)
    roots = set()
    for cap in (0, 4):
        world = World([100] * 4, rules=("mean",), examples_cap=cap, update_bits=11)
        updates = tuple(world.update(trainer, examples=claim) for trainer, claim in enumerate(claims))
        header, _, _ = world.build(headers=updates)
        expected = merge(
            world.genesis.manifest,
            small_model(),
            [world.payload(update) for update in updates],
            claims,
            faulty_max=1,
            rule="mean",
            update_bits=11,
            examples_cap=cap,
        )
        assert header.model_root == expected.model.root
        assert header.exponents_root == expected.model.exponents_root
        roots.add(header.model_root)
    assert len(roots) == 2


@pytest.mark.parametrize(("count", "rule"), [(2, ""), (3, "mean"), (4, "mean")])
def test_a_height_merges_from_the_least_number_of_updates_on(count: int, rule: str) -> None:
    world = World([100] * 4, rules=("mean",), updates_min=3)
    header, _, _ = world.build(headers=world.updates()[:count])
    assert header.rule == rule
    assert header.is_empty is not bool(rule)


@pytest.mark.parametrize(("behind", "expected"), [(1_000_000, 1), (0, 1), (-1, 1), (-2, 2), (-500, 500)])
def test_time_is_that_of_the_votes_and_never_stands_still(behind: int, expected: int) -> None:
    world = World([100] * 4)
    world.advance(headers=())
    last = world.state.time_ms
    avails = tuple(world.avail(voter, (), time_ms=last - behind) for voter in range(4))
    header, _, _ = world.build(headers=(), avails=avails)
    assert header.time_ms == last + expected
