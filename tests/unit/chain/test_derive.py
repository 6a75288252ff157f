"""A merge uses what genesis chose and what the trainers claimed."""

from __future__ import annotations

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
