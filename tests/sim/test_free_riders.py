"""Who copies another's update of the same height is paid nothing, and its victim loses nothing."""

from __future__ import annotations

import pytest

from p2pfed.adversary.effects import Boast
from p2pfed.node.pledges import Pledges
from p2pfed.sim.scenario import Scenario
from p2pfed.sim.world import World

HEIGHTS = 7


def scores(kind: str) -> tuple[list[int], int]:
    """Return what honest trainers scored over a run, and the liar; the updates of the first block too."""
    scenario = Scenario(peers=4, heights=HEIGHTS, emission=1 << 40, byzantine=(kind,))
    world = World(scenario)
    result = world.run()
    assert not result.violations
    assert (
        sum(isinstance(fact, Boast) and "copy of" in fact.detail for *_, fact in world.facts) >= HEIGHTS - 1
    )
    earned = {peer.public: 0 for peer in world.peers}
    for block in world.honest[0].disk.blocks(1, HEIGHTS) or ():
        assert block.body.scores is not None
        for update, score in zip(block.body.updates, block.body.scores.scores, strict=True):
            earned[update.trainer] += score.value
    *honest, liar = (earned[peer.public] for peer in world.peers)
    return honest, liar


@pytest.mark.parametrize("noise", [0, 0.2])
def test_a_copy_earns_nothing_and_takes_nothing_from_its_victim(noise: float) -> None:
    honest, liar = scores(f"copier:noise={noise}")
    assert liar == 0
    assert all(2 * score > max(honest) for score in honest)


def test_where_a_pledge_could_come_at_any_time_the_copy_would_be_paid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Pledges, "is_due", lambda *_: True)
    honest, liar = scores("copier")
    assert 2 * liar * len(honest) > sum(honest)
