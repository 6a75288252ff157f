"""Who copies another's update of the same height is paid nothing, and its victim loses nothing."""

from __future__ import annotations

import msgspec
import pytest

from p2pfed.adversary.effects import Boast
from p2pfed.node import pledges
from p2pfed.sim.campaign import find_scenario
from p2pfed.sim.earnings import rider_objections
from p2pfed.sim.expect import Expect
from p2pfed.sim.scenario import Scenario
from p2pfed.sim.world import World

HEIGHTS = 5
COPIER = Scenario(
    peers=4, heights=HEIGHTS, emission=1 << 40, byzantine=("copier",), expect=Expect(unpaid=True)
)


def test_copies_exact_and_in_disguise_earn_nothing_and_take_nothing_from_their_victims() -> None:
    scenario = msgspec.structs.replace(find_scenario("copiers"), heights=4)
    world = World(scenario)
    result = world.run()
    assert result.violations == ()
    copies = [fact for *_, fact in world.facts if isinstance(fact, Boast) and "copy of" in fact.detail]
    assert len(copies) >= 2 * (scenario.heights - 1)
    earned = [world.judge.earned.get(peer, 0) for peer in range(scenario.peers)]
    assert earned[-2:] == [0, 0]
    assert 2 * min(earned[:-2]) > max(earned[:-2])


def test_if_updates_were_shown_before_all_are_pledged_a_copy_would_be_paid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pledges, "are_asked_for", lambda _: False)
    (objection,) = World(COPIER).run().violations
    assert objection.startswith("peer 3 scores ")


def test_a_rider_may_earn_a_tenth_of_the_mean_and_no_more() -> None:
    assert rider_objections({0: 100, 1: 140, 2: 12}, 3, 1) == []
    assert len(rider_objections({0: 100, 1: 140, 2: 13}, 3, 1)) == 1
    assert rider_objections({2: 13}, 3, 1) == ["nobody honest is paid for an update"]
