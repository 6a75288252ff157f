"""What each lie does to a network of honest peers: it costs the liar, and the honest go on."""

from __future__ import annotations

from typing import TypeVar

import pytest

from p2pfed import errors
from p2pfed.adversary.effects import Boast
from p2pfed.adversary.registry import ATTACKS, KINDS
from p2pfed.node.facts import (
    BlockCommitted,
    EvidenceFound,
    ProposalRefused,
    StakeSlashed,
    UpdateReceived,
    UpdateRefused,
)
from p2pfed.sim.campaign import find_scenario
from p2pfed.sim.faults import Fault
from p2pfed.sim.scenario import BOND, Crash, Scenario, random_scenario
from p2pfed.sim.signatures import Signatures
from p2pfed.sim.world import Result, World

F = TypeVar("F")
LIAR = 3
# Attacks on values differ in one vector and share two liars, so four of them stand for all here.
LIARS = sorted({*KINDS} - {*ATTACKS} | {"sign_flip", "alie", "label_flip", "free_replay"})


def played(*byzantine: str, heights: int = 8, **changes: object) -> tuple[World, Result]:
    world = World(Scenario(heights=heights, byzantine=byzantine, **changes))  # type: ignore[arg-type]
    return world, world.run()


def facts(world: World, kind: type[F], peer: int | None = None) -> list[F]:
    return [fact for _, by, fact in world.facts if isinstance(fact, kind) and peer in (None, by)]


@pytest.mark.parametrize("kind", LIARS)
def test_no_liar_of_four_stops_the_honest_or_splits_them(kind: str) -> None:
    world, result = played(kind, heights=6)
    assert result.violations == ()
    assert result.heights[:LIAR] == (6, 6, 6)
    assert facts(world, Boast, LIAR) or kind in ("wrong_shape", "bad_chunks")
    assert not facts(world, Boast, 0)


@pytest.mark.parametrize("kind", LIARS)
def test_no_liar_of_four_stops_the_honest_on_a_bad_network(kind: str) -> None:
    bad = (
        Fault("loss", 0, 4_000, permille=200),
        Fault("duplicate", 0, 4_000, permille=200, amount=100),
    )
    _, result = played(kind, heights=3, faults=bad, delay_ms=(1, 60), seed=5)
    assert result.violations == ()
    assert result.heights[:LIAR] == (3, 3, 3)


def test_two_votes_are_proven_in_a_block_and_the_liar_neither_votes_nor_trains_two_heights_later() -> None:
    world, result = played("double_vote", heights=14)
    assert result.violations == ()
    liar = world.peers[LIAR].public
    (slashed,) = facts(world, StakeSlashed, 0)
    assert (slashed.culprit, slashed.kind) == (liar, "DUPLICATE_VOTE")
    state = world.peers[0].node.state
    height = slashed.height
    validators = [state.validators_at(height + ahead) for ahead in (0, 1, 2)]
    assert [found is not None and found.index_of(liar) is not None for found in validators] == [
        True, True, False,
    ]  # fmt: skip
    assert liar not in state.trainers
    later = [fact for fact in facts(world, BlockCommitted, 0) if fact.height > height + 2]
    assert later
    assert all(liar not in fact.trainers for fact in later)


def test_two_proposals_cost_a_little_and_the_liar_stays() -> None:
    world, result = played("equivocating_proposer", heights=10)
    assert result.violations == ()
    liar = world.peers[LIAR].public
    assert {fact.kind for fact in facts(world, EvidenceFound, 0)} == {"DuplicateProposal"}
    (slashed,) = facts(world, StakeSlashed, 0)
    assert (slashed.culprit, slashed.kind) == (liar, "DUPLICATE_PROPOSAL")
    state = world.peers[0].node.state
    assert state.validators.index_of(liar) is not None
    stake = state.ledger.stake(liar)
    assert stake is not None
    assert stake.bond == BOND - BOND // 200


def test_a_false_aggregate_is_refused_by_the_recomputation_of_every_honest_peer() -> None:
    world, result = played("wrong_aggregate")
    assert result.violations == ()
    liar = world.peers[LIAR].public
    for honest in range(LIAR):
        refusals = facts(world, ProposalRefused, honest)
        assert refusals
        assert {refusal.proposer for refusal in refusals} == {liar}
        assert all("aggregate_root" in refusal.reason for refusal in refusals)
    false_heights = {fact.height for fact in facts(world, ProposalRefused)}
    rounds = {fact.height: fact.round for fact in facts(world, BlockCommitted, 0)}
    assert all(rounds[height] >= 1 for height in false_heights)
    state = world.peers[0].node.state
    assert all(block.header.proposer != liar for block in world.peers[0].disk.blocks(1, state.height))


@pytest.mark.parametrize("kind", ["withheld_payload", "wrong_shape", "garbage_payload", "silent"])
def test_an_update_that_cannot_be_used_is_in_no_block_and_the_others_are_in_every_one(kind: str) -> None:
    world, result = played(kind)
    assert result.violations == ()
    honest = {peer.public for peer in world.peers[:LIAR]}
    blocks = facts(world, BlockCommitted, 0)
    assert len(blocks) == 8
    assert all(set(fact.trainers) == honest for fact in blocks)
    if kind in ("wrong_shape", "garbage_payload"):
        slashed = {(fact.culprit, fact.kind) for fact in facts(world, StakeSlashed, 0)}
        assert slashed == {(world.peers[LIAR].public, "INVALID_UPDATE")}
    if kind == "garbage_payload":
        assert {fact.trainer for fact in facts(world, UpdateRefused, 0)} == {world.peers[LIAR].public}
    if kind == "withheld_payload":
        assert all(fact.trainer in honest for fact in facts(world, UpdateReceived, 0))


@pytest.mark.parametrize(
    "kinds", [("alie_optimal", "mimic", "backdoor"), ("min_max", "tie_crafting", "stale_replay:age=1")]
)
def test_three_of_ten_poison_at_once_and_each_update_is_merged(kinds: tuple[str, ...]) -> None:
    world, result = played(*kinds, heights=2, peers=10, is_shared=True)
    assert result.violations == ()
    (last,) = (fact for fact in facts(world, BlockCommitted, 0) if fact.height == 2)
    assert {world.peers[liar].public for liar in (7, 8, 9)} <= set(last.trainers)
    assert [len(facts(world, Boast, liar)) >= 2 for liar in (7, 8, 9)] == [True] * 3


@pytest.mark.parametrize("kind", ["sign_flip", "alie", "noise", "huge_norm"])
def test_a_poisoned_update_is_merged_and_the_model_learns_all_the_same(kind: str) -> None:
    world, result = played(kind, heights=15)
    assert result.violations == ()
    liar = world.peers[LIAR].public
    counted = [liar in fact.trainers for fact in facts(world, BlockCommitted, 0)]
    assert sum(counted) >= 12
    assert result.accuracy > 0.85


def test_garbage_bytes_cost_their_sender_its_pipes_and_nobody_else_is_blamed() -> None:
    world, result = played("garbage_bytes", heights=30)
    assert result.violations == ()
    assert result.virtual_ms > 2_000
    assert {culprit for _, culprit, _ in world.blames} == {world.peers[LIAR].public}
    assert {peer for peer, _, _ in world.blames} == {0, 1, 2}


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("forger", "BadSignature"),
        ("mutator", "PeerFault"),
        ("flooder:messages=9000", "RateExceeded"),
    ],
)
def test_lies_that_anybody_can_see_cost_their_sender_its_pipes(kind: str, fault: str) -> None:
    world, result = played(kind, heights=6)
    assert result.violations == ()
    blamed = [found for peer, culprit, found in world.blames if culprit == world.peers[LIAR].public]
    assert any(isinstance(found, getattr(errors, fault)) for found in blamed)
    assert {culprit for _, culprit, _ in world.blames} == {world.peers[LIAR].public}
    assert min(result.heights[:LIAR]) == 6
    assert not world.peers[0].node.neighbours.table.is_connected(world.peers[LIAR].public)


@pytest.mark.parametrize("kind", ["nil_voter", "withholder", "availability_liar"])
def test_sins_that_break_no_signed_word_convict_nobody(kind: str) -> None:
    world, result = played(kind, heights=6)
    assert result.violations == ()
    assert not facts(world, StakeSlashed)
    assert not [culprit for peer, culprit, _ in world.blames if peer != LIAR]


def test_a_censor_gets_no_update_out_that_all_honest_hold() -> None:
    world, result = played("censor", heights=6)
    victim = world.genesis.participants[0].key
    blocks = facts(world, BlockCommitted, 0)
    mine = world.peers[LIAR].public
    assert any(block.header.proposer == mine for block in world.peers[0].disk.blocks(1, 6))
    assert all(victim in fact.trainers for fact in blocks)
    assert result.included >= 3 * len(blocks)


def test_a_key_that_runs_twice_is_convicted() -> None:
    scenario = find_scenario("twins")
    assert scenario.expect.convicted == (LIAR,)
    assert World(scenario).run().violations == ()


def test_a_fork_by_a_key_that_runs_twice_convicts_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = find_scenario("fork")
    result = World(scenario).run()
    assert (result.violations, result.forks, result.accused_power) == ((), 1, 1_500)
    monkeypatch.setattr(Signatures, "add", lambda *_: None)
    assert World(scenario).run().violations == ("the fork at height 1 convicts 0 of 3500",)


def test_an_observer_follows_without_a_voice() -> None:
    world, result = played(heights=8, observers=1)
    assert result.violations == ()
    assert result.heights == (8,) * 5
    observer = world.peers[4]
    blocks = facts(world, BlockCommitted, 4)
    assert [fact.height for fact in blocks] == list(range(1, 9))
    assert all(observer.public not in fact.trainers for fact in blocks)
    assert observer.disk.load_record().height == 0


def test_an_observer_that_comes_late_catches_up() -> None:
    world, result = played(heights=30, observers=1, crashes=(Crash(4, 0, 2_000),))
    assert result.violations == ()
    assert result.heights == (30,) * 5
    assert facts(world, BlockCommitted, 4)[0].caught_up


def test_a_forged_copy_of_a_vote_that_is_held_is_not_passed_on() -> None:
    """Its signature is not looked at any more, and the next peer would blame the honest one that sent it."""
    result = World(random_scenario(1001, 4, 3, ("forger",))).run()
    assert result.violations == ()
