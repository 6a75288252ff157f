"""Peers that join by state in simulated networks: their roots are those of whoever replayed every block."""

from __future__ import annotations

import pytest

from p2pfed.node.facts import BlockCommitted, SnapshotChosen, StateSynced
from p2pfed.sim.faults import Fault
from p2pfed.sim.scenario import Crash, Late, Scenario
from p2pfed.sim.world import World
from p2pfed.storage import retention

S, HEIGHTS = 4, 14


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "SNAPSHOT_INTERVAL", S)


def joined(scenario: Scenario, number: int) -> World:
    """Run and check that the late peer began with a snapshot and ended with everybody's state."""
    world = World(scenario)
    assert world.run().violations == ()
    late, first = world.peers[number], world.peers[0]
    assert late.disk.height == world.genesis.params.height_final
    synced = [fact for _, peer, fact in world.facts if peer == number and isinstance(fact, StateSynced)]
    assert synced
    base = synced[-1].height
    assert base % S == 0
    assert not any(late.disk.block(height) for height in range(scenario.height_first, base))
    ours, theirs = late.disk.recover()[0], first.disk.recover()[0]
    assert (ours.header_hash, ours.ledger) == (theirs.header_hash, theirs.ledger)
    assert ours.model is not None
    assert theirs.model is not None
    assert (ours.model.root, ours.model.exponents_root) == (theirs.model.root, theirs.model.exponents_root)
    return world


def test_a_member_that_joins_late_has_every_root_of_a_replayer_and_votes() -> None:
    world = joined(Scenario(heights=HEIGHTS, late=(Late(3, 3_000),), seed=5), 3)
    chosen = next(fact for _, peer, fact in world.facts if peer == 3 and isinstance(fact, SnapshotChosen))
    assert chosen.offered_by + chosen.confirmed_by == 3
    own = [fact for _, peer, fact in world.facts if peer == 3 and isinstance(fact, BlockCommitted)]
    assert any(not fact.caught_up for fact in own)  # The last ones it has voted on itself.


def test_a_member_joins_by_state_where_heights_begin_far_up() -> None:
    joined(Scenario(heights=8, height_first=10_001, late=(Late(3, 2_000),)), 3)


def test_a_liar_that_serves_bad_chunks_is_named_and_the_next_holder_takes_over() -> None:
    world = joined(
        Scenario(peers=7, heights=HEIGHTS, byzantine=("bad_chunks",), late=(Late(2, 3_400),), seed=8), 2
    )
    liar = world.peers[6].public
    assert {culprit for peer, culprit, _ in world.blames if peer == 2} == {liar}


def test_a_joiner_that_is_killed_begins_again() -> None:
    crashes = tuple(Crash(4, effect, 300) for effect in (6, 12, 20))
    scenario = Scenario(
        heights=HEIGHTS,
        observers=1,
        crashes=crashes,
        late=(Late(4, 3_000),),
        faults=(Fault("loss", 0, 8_000, permille=50),),
        seed=9,
    )
    joined(scenario, 4)
