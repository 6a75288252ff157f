"""A peer dies between any two effects of a height and comes back from its disk, and stays honest."""

from __future__ import annotations

import pytest

from p2pfed.node.facts import BlockCommitted, CatchingUp
from p2pfed.sim.scenario import Crash, Scenario
from p2pfed.sim.world import World


def _proposer(height: int) -> int:
    """Return who proposes the block of `height` when nothing goes wrong."""
    world = World(Scenario(heights=height))
    assert world.run().violations == ()
    block = world.peers[0].disk.block(height)
    assert block is not None
    return next(peer.number for peer in world.peers if peer.public == block.header.proposer)


@pytest.mark.parametrize(("height", "turn"), [(2, 0), (1, 1)])
def test_killed_at_any_effect_and_restarted_it_never_signs_twice_and_follows(height: int, turn: int) -> None:
    """The proposer of height 2 dies anywhere in heights 1 and 2, another peer anywhere in height 1."""
    peer = (_proposer(height) + turn) % 4
    effect = 0
    while True:
        world = World(Scenario(heights=height, crashes=(Crash(peer, effect, 120),)))
        result = world.run()
        assert result.violations == (), effect
        assert result.heights == (height,) * 4, effect
        if result.crashes == 0:
            break  # It had fewer effects than that: all were walked.
        effect += 1
    assert effect > 40 * height


@pytest.mark.parametrize("seed", range(2))
def test_two_deaths_of_one_peer_in_one_height_are_as_safe_as_one(seed: int) -> None:
    for effect in range(10, 80, 9):
        crashes = (Crash(0, effect, 100), Crash(0, effect + 3 + seed, 400), Crash(1, effect + 9, 100))
        result = World(Scenario(heights=2, crashes=crashes, seed=seed)).run()
        assert (result.violations, result.crashes) == ((), 3), effect


def test_all_peers_dying_at_once_lose_nothing_that_was_final() -> None:
    crashes = tuple(Crash(peer, 90, 500) for peer in range(4))
    world = World(Scenario(heights=6, crashes=crashes, seed=3))
    result = world.run()
    assert (result.violations, result.crashes) == ((), 4)
    assert result.heights == (6, 6, 6, 6)


def test_a_peer_that_starts_late_fetches_blocks_and_model_and_trains_again() -> None:
    late = 2
    world = World(Scenario(heights=25, crashes=(Crash(late, 0, 4_000),)))
    result = world.run()
    assert result.violations == ()
    assert any(isinstance(fact, CatchingUp) for _, peer, fact in world.facts if peer == late)
    committed = [fact for _, by, fact in world.facts if by == late and isinstance(fact, BlockCommitted)]
    assert committed[0].caught_up
    assert not committed[-1].caught_up
    assert world.peers[late].public in committed[-1].trainers
