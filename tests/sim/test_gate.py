"""Whole simulated peers judge their models, go back from worse ones, and break no law on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar

import numpy as np
import pytest
from msgspec.structs import replace

from p2pfed.adversary import registry
from p2pfed.adversary.attacks.attack import Sight, saturated
from p2pfed.adversary.attacks.sign_flip import SignFlip
from p2pfed.adversary.registry import Kind, _poisoner
from p2pfed.chain.state import ChainState
from p2pfed.node.effects import CheckProposal
from p2pfed.node.facts import BlockCommitted, ModelRejected
from p2pfed.sim.campaign import find_scenario
from p2pfed.sim.faults import Fault
from p2pfed.sim.scenario import Crash, Scenario
from p2pfed.sim.world import World
from p2pfed.types.model import Int16Vector, ModelState
from p2pfed.types.params import NESTEROV, OUTER_ONE

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


def test_momentum_goes_back_with_the_model_and_steps_on_from_there() -> None:
    world = World(find_scenario("gate-momentum"))
    kept: dict[int, ModelState] = {}  # Height -> its model, as whoever checks the next block holds it.
    checked = world.checked

    def keep(effect: CheckProposal, check: Callable[[], ChainState]) -> ChainState:
        assert effect.state.model is not None
        kept[effect.state.height] = effect.state.model
        return checked(effect, check)

    world.checked = keep  # type: ignore[method-assign]
    assert world.run().violations == ()  # Every merge again in plain Python, from the velocity before it.
    rejected = {fact for _, _, fact in world.facts if isinstance(fact, ModelRejected)}
    back = [fact for fact in rejected if fact.height + 2 in kept]
    assert back
    for fact in back:
        returned, good, bad = kept[fact.height + 2], kept[fact.back_to], kept[fact.height]
        assert np.array_equal(returned.weights, good.weights)
        assert np.array_equal(returned.velocity, good.velocity)
        assert returned.velocity.any()
        assert not np.array_equal(returned.velocity, bad.velocity)


class LateJump(SignFlip):
    """Honest for a while; then its update many times over, in its own direction."""

    kind = "late_jump"
    settings: ClassVar[Mapping[str, float]] = {"honest": 9.0}

    def craft(self, sight: Sight) -> Int16Vector:
        self.made = getattr(self, "made", 0) + 1
        return saturated(sight.own * (25.0 if self.made > self.chosen["honest"] else 1.0))


@pytest.mark.parametrize("outer", [(0, OUTER_ONE), NESTEROV])
def test_a_jump_is_taken_back_though_no_class_was_lost_and_calm_steps_are_not(
    outer: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.KINDS, "late_jump", Kind(partial(_poisoner, LateJump), LateJump.settings))
    wide = int(0.9 * OUTER_ONE)  # No score and no class falls by so much.
    scenario = Scenario(
        peers=4, heights=15, byzantine=("late_jump",), rules=("mean",), gate_drop=wide, gate_class_drop=wide,
        outer_momentum=outer[0], outer_rate=outer[1],
    )  # fmt: skip

    def rejected(scenario: Scenario) -> set[int]:
        world = World(scenario)
        assert world.run().violations == ()
        return {fact.height for _, _, fact in world.facts if isinstance(fact, ModelRejected)}

    assert rejected(scenario) == {10, 13}  # Its next one, right after the block that goes back, too.
    assert rejected(replace(scenario, gate_class_drop=0)) == set()
    assert rejected(replace(scenario, byzantine=("late_jump:honest=99",))) == set()
