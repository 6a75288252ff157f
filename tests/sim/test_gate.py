"""Whole simulated peers judge their models, go back from worse ones, and break no law on the way."""

from __future__ import annotations

from p2pfed.node.facts import BlockCommitted, ModelRejected
from p2pfed.sim.faults import Fault
from p2pfed.sim.scenario import Crash, Scenario
from p2pfed.sim.world import World

GATED = Scenario(peers=4, heights=12, byzantine=("sign_flip:scale=60",), rules=("mean",), gate_drop=6553)


def test_each_broken_model_is_taken_back_by_all_peers() -> None:
    world = World(GATED)
    result = world.run()
    assert result.violations == ()
    rejected = {fact for _, _, fact in world.facts if isinstance(fact, ModelRejected)}
    assert len(rejected) >= 3
    roots = {fact.height: fact.model_root for _, _, fact in world.facts if isinstance(fact, BlockCommitted)}
    for fact in rejected:
        if fact.height + 2 in roots:  # The network may end before it goes back.
            assert roots[fact.height + 2] == roots[fact.back_to]
    for peer in world.honest:  # Everybody told of every one.
        told = {
            fact for _, who, fact in world.facts if isinstance(fact, ModelRejected) and who == peer.number
        }
        assert told == rejected


def test_the_same_seed_goes_the_same_way_through_crashes_and_lost_messages() -> None:
    faulty = Scenario(
        seed=5, peers=4, heights=8, byzantine=("sign_flip:scale=20",), rules=("mean",), gate_drop=6553,
        faults=(Fault("loss", 0, 5_000, permille=50),), crashes=(Crash(0, 70, 300), Crash(1, 150, 200)),
    )  # fmt: skip
    first, second = (World(faulty).run() for _ in range(2))
    assert first.violations == ()
    assert first.trace_hash == second.trace_hash
