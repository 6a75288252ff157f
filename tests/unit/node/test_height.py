"""One height of one peer: collect, vote on what is held, build only what is whole, keep proofs."""

from __future__ import annotations

import msgspec
import pytest
from support.chain import World, private_keys
from support.lab import Lab, sent_by

from p2pfed.consensus.io import LocalValue, Restarted
from p2pfed.consensus.journal import Said
from p2pfed.consensus.machine import Step
from p2pfed.node.effects import (
    Append,
    BuildProposal,
    CheckProposal,
    Effect,
    FetchBody,
    FetchPayload,
    Halt,
    Persist,
    ScheduleTimeout,
    Send,
    SyncLog,
)
from p2pfed.node.events import (
    BodyFetched,
    PayloadFetched,
    PeerDisconnected,
    ProposalBuilt,
    ProposalChecked,
    Timer,
)
from p2pfed.node.facts import CollectEnded, EvidenceFound, ProposalRefused, RoundStarted, UpdateRefused
from p2pfed.primitives.keys import PrivateKey
from p2pfed.types.availability import AvailMessage
from p2pfed.types.proposal import Proposal
from p2pfed.types.update import UpdateHeader
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import ProposalMessage

COLLECT = Timer("collect", 1, 0)


@pytest.fixture
def world() -> World:
    return World((10, 10, 10, 10))


def lab_of(world: World, *, is_proposer: bool) -> Lab:
    place = world.state.validators.index_of(world.proposer())
    assert place is not None
    lab = Lab(world=world, key=world.key(place if is_proposer else (place + 1) % 4), is_learning=False)
    lab.start()
    return lab


def place_of(lab: Lab) -> int:
    place = lab.world.state.validators.index_of(lab.key.public)
    assert place is not None
    return place


def hold(lab: Lab, header: UpdateHeader) -> list[Effect]:
    """Let the peer hear of an update and hold its payload."""
    effects = lab.hear(header)
    return effects + lab.step(PayloadFetched(header.update_id, is_valid=True))


def proposal_of(world: World) -> tuple[ProposalMessage, BodyFetched]:
    header, body, _ = world.build()
    place = world.state.validators.index_of(world.proposer())
    assert place is not None
    unsigned = Proposal(1, 0, header.value_id, -1, place, bytes(64))
    return ProposalMessage(world.sign(unsigned, world.key(place)), header, None), BodyFetched(header, body)


def test_once_every_update_is_held_the_peer_votes_for_exactly_those(world: World) -> None:
    lab = lab_of(world, is_proposer=False)
    updates = world.updates()
    for header in updates[:-1]:
        hold(lab, header)
    assert lab.sent(AvailMessage) == []
    effects = hold(lab, updates[-1])
    (message,) = sent_by(effects, AvailMessage)
    assert message.update_ids == tuple(sorted(header.update_id for header in updates))
    assert message.avail.is_signed_by(lab.key.public, world.genesis.chain_id)
    assert [fact.reason for fact in lab.facts(CollectEnded)] == ["all"]


def test_the_record_is_durable_before_the_vote_leaves(world: World) -> None:
    lab = lab_of(world, is_proposer=False)
    for header in world.updates():
        effects = hold(lab, header)
    kinds = [
        "persist" if isinstance(effect, Persist) else "send"
        for effect in effects
        if isinstance(effect, Persist)
        or (isinstance(effect, Send) and isinstance(effect.message, AvailMessage))
    ]
    assert kinds == ["persist", "send"]


def test_an_update_whose_payload_is_refused_is_waited_for_no_more_and_not_voted_for(world: World) -> None:
    lab = lab_of(world, is_proposer=False)
    updates = world.updates()
    lab.hear(updates[0])
    lab.step(PayloadFetched(updates[0].update_id, is_valid=False))
    for header in updates[1:]:
        hold(lab, header)
    (message,) = lab.sent(AvailMessage)
    assert updates[0].update_id not in message.update_ids
    assert [fact.trainer for fact in lab.facts(UpdateRefused)] == [updates[0].trainer]


def test_availability_votes_of_a_quorum_end_the_waiting(world: World) -> None:
    lab = lab_of(world, is_proposer=False)
    others = [place for place in range(4) if place != place_of(lab)]
    for place in others[:2]:
        lab.hear(world.avail(place, []))
    assert lab.facts(CollectEnded) == []
    lab.hear(world.avail(others[2], []))
    assert [fact.reason for fact in lab.facts(CollectEnded)] == ["quorum"]
    assert [fact.round for fact in lab.facts(RoundStarted)] == [0]


def test_votes_of_others_in_a_round_pull_a_peer_out_of_its_waiting(world: World) -> None:
    lab = lab_of(world, is_proposer=False)
    others = [place for place in range(4) if place != place_of(lab)]
    for place in others[:2]:
        lab.hear(world.sign(Prevote(1, 2, None, -1, place, bytes(64)), world.key(place)))
    assert [fact.reason for fact in lab.facts(CollectEnded)] == ["round"]
    assert len(lab.sent(AvailMessage)) == 1
    assert lab.facts(RoundStarted)[-1].round == 2


def test_the_clock_of_a_height_stands_while_no_quorum_is_connected(world: World) -> None:
    lab = lab_of(world, is_proposer=False)
    for peer in lab.others[:2]:
        lab.step(PeerDisconnected(peer))
    lab.wait(100_000, COLLECT)
    assert lab.facts(CollectEnded) == []


def test_a_second_list_of_a_validator_changes_nothing(world: World) -> None:
    lab = lab_of(world, is_proposer=False)
    liar = next(place for place in range(4) if place != place_of(lab))
    first, second = world.avail(liar, [world.update(0)]), world.avail(liar, [])
    lab.hear(first)
    lab.hear(second)
    assert lab.node.work is not None
    assert lab.node.work.pool.avails[liar] == first


def test_a_vote_names_more_holders_of_a_payload_that_is_under_way(world: World) -> None:
    lab = lab_of(world, is_proposer=False)
    header = world.update(0)
    lab.hear(header)
    voter = next(
        place for place in range(4) if place != place_of(lab) and world.key(place).public != header.trainer
    )
    effects = lab.hear(world.avail(voter, [header]))
    (fetch,) = [effect for effect in effects if isinstance(effect, FetchPayload)]
    assert fetch.holders == (header.trainer, world.key(voter).public)


def test_the_proposer_builds_once_it_holds_what_a_quorum_voted_for(world: World) -> None:
    lab = lab_of(world, is_proposer=True)
    headers = world.updates()
    for place in range(4):
        if place != place_of(lab):
            lab.hear(world.avail(place, headers))
    for header in headers[:-1]:
        hold(lab, header)
    assert lab.all_of(BuildProposal) == []  # A header is missing.
    lab.hear(headers[-1])
    assert lab.all_of(BuildProposal) == []  # Its payload is missing.
    lab.step(PayloadFetched(headers[-1].update_id, is_valid=True))
    (build,) = lab.all_of(BuildProposal)
    assert build.round == 0
    assert len(build.inputs.avails) == 4
    lab.wait(10, COLLECT)
    assert len(lab.all_of(BuildProposal)) == 1


def test_a_block_that_was_wanted_in_a_round_that_is_over_is_not_built(world: World) -> None:
    lab = lab_of(world, is_proposer=True)
    others = [place for place in range(4) if place != place_of(lab)]
    lab.wait(2_000, COLLECT)
    lab.wait(60_000, COLLECT)
    assert [fact.round for fact in lab.facts(RoundStarted)] == [0]
    for place in others[:2]:
        lab.hear(world.sign(Prevote(1, 1, None, -1, place, bytes(64)), world.key(place)))
    assert [fact.round for fact in lab.facts(RoundStarted)] == [0, 1]
    for place in others:
        lab.hear(world.avail(place, []))
    assert lab.all_of(BuildProposal) == []


def test_a_block_of_our_own_is_proposed_and_voted_for_without_a_check(world: World) -> None:
    lab = lab_of(world, is_proposer=True)
    for place in range(4):
        if place != place_of(lab):
            lab.hear(world.avail(place, []))
    (build,) = lab.all_of(BuildProposal)
    header, body, after = world.build(avails=build.inputs.avails, headers=())
    effects = lab.step(ProposalBuilt(1, 0, header, body, after))
    assert [message.header for message in sent_by(effects, ProposalMessage)] == [header]
    assert [vote.value_id for vote in sent_by(effects, Prevote)] == [header.value_id]
    assert lab.all_of(CheckProposal) == []


def test_a_block_that_was_built_for_another_height_is_dropped(world: World) -> None:
    lab = lab_of(world, is_proposer=True)
    header, body, after = world.build()
    assert lab.step(ProposalBuilt(2, 0, header, body, after)) == []


def test_a_proposal_is_voted_for_only_after_our_own_recomputation(world: World) -> None:
    lab = lab_of(world, is_proposer=False)
    message, fetched = proposal_of(world)
    for place in range(4):
        if place != place_of(lab):
            lab.hear(world.avail(place, []))
    lab.hear(message)
    assert [effect.header for effect in lab.all_of(FetchBody)] == [message.header]
    lab.step(fetched)
    assert lab.all_of(CheckProposal) == []
    for update in fetched.body.updates:
        lab.step(PayloadFetched(update.update_id, is_valid=True))
    assert len(lab.all_of(CheckProposal)) == 1
    assert lab.sent(Prevote) == []
    _, _, after = world.build()
    lab.step(ProposalChecked(message.header.value_id, after, ""))
    assert [vote.value_id for vote in lab.sent(Prevote)] == [message.header.value_id]


def test_what_made_us_vote_is_in_the_log_and_durable_before_the_vote_leaves(world: World) -> None:
    lab = lab_of(world, is_proposer=True)
    for place in range(4):
        if place != place_of(lab):
            lab.hear(world.avail(place, []))
    (build,) = lab.all_of(BuildProposal)
    header, body, after = world.build(avails=build.inputs.avails, headers=())
    effects = lab.step(ProposalBuilt(1, 0, header, body, after))
    order = [effect for effect in effects if isinstance(effect, Append | Persist | SyncLog | Send)]
    (proposal,), (prevote,) = sent_by(order, ProposalMessage), sent_by(order, Prevote)
    told = [effect.entry if isinstance(effect, Append) else type(effect) for effect in order]
    spoken = [Persist, SyncLog, Send]  # W1, W2
    assert told == [LocalValue(0, header), *spoken, Said(proposal), *spoken, Said(prevote)]


def test_what_a_restart_says_again_is_in_its_new_log(world: World) -> None:
    """It moves no state, and without it the next restart would not know what was said."""
    first = lab_of(world, is_proposer=False)
    for place in range(4):
        if place != place_of(first):
            first.hear(world.avail(place, []))
    first.wait(1_000, Timer("propose", 1, 0))
    assert first.sent(Prevote)
    again = Lab(world=world, key=first.key, record=first.node.hand.record, is_learning=False)
    again.start()
    assert Restarted() in [effect.entry for effect in again.all_of(Append)]


def test_what_the_signer_refuses_is_not_said(world: World) -> None:
    """A record above the engine, as of one key in two homes: the peer stays silent and goes on."""
    lab = lab_of(world, is_proposer=False)
    for place in range(4):
        if place != place_of(lab):
            lab.hear(world.avail(place, []))
    lab.node.hand.record = msgspec.structs.replace(lab.node.hand.record, height=1, round=7, step=3)
    lab.wait(1_000, Timer("propose", 1, 0))
    assert lab.sent(Prevote) == []
    assert lab.node.work is not None
    assert lab.node.work.engine.current_step is Step.PREVOTE


def test_the_second_wait_for_a_block_is_as_long_as_its_payloads_need(world: World) -> None:
    """T1: two of four payloads came, 32 bytes in 4 s, so 32 more need 4 s on top of the base."""
    lab = lab_of(world, is_proposer=False)
    message, fetched = proposal_of(world)
    updates = fetched.body.updates
    for header in updates:
        lab.hear(header)
    lab.wait(4_000)
    for header in updates[:2]:
        lab.step(PayloadFetched(header.update_id, is_valid=True))
    for place in range(4):
        if place != place_of(lab):
            lab.hear(world.avail(place, ()))
    lab.hear(message)
    lab.step(fetched)
    propose = Timer("propose", 1, 0)
    (first,) = [effect for effect in lab.all_of(ScheduleTimeout) if effect.timer == propose]
    effects = lab.wait(first.delay_ms, propose)
    waits = [effect.delay_ms for effect in effects if isinstance(effect, ScheduleTimeout)]
    missing_bytes = sum(header.payload_bytes for header in updates[2:])
    came_bytes = sum(header.payload_bytes for header in updates[:2])
    assert waits == [first.delay_ms + 1_000 * missing_bytes // (came_bytes // 4)]
    assert lab.sent(Prevote) == []
    lab.wait(waits[0], propose)
    assert [vote.value_id for vote in lab.sent(Prevote)] == [None]  # Once.


def test_a_block_that_our_recomputation_refuses_is_voted_against(world: World) -> None:
    lab = lab_of(world, is_proposer=False)
    message, fetched = proposal_of(world)
    for place in range(4):
        if place != place_of(lab):
            lab.hear(world.avail(place, []))
    lab.hear(message)
    lab.step(fetched)
    for update in fetched.body.updates:
        lab.step(PayloadFetched(update.update_id, is_valid=True))
    lab.step(ProposalChecked(message.header.value_id, None, "model_root is 1, recomputed 2"))
    assert [vote.value_id for vote in lab.sent(Prevote)] == [None]
    (refusal,) = lab.facts(ProposalRefused)
    assert (refusal.proposer, refusal.reason) == (world.proposer(), "model_root is 1, recomputed 2")


def test_a_quorum_that_decides_what_we_refuse_halts_us(world: World) -> None:
    lab = lab_of(world, is_proposer=False)
    message, fetched = proposal_of(world)
    lab.hear(message)
    lab.step(fetched)
    for update in fetched.body.updates:
        lab.step(PayloadFetched(update.update_id, is_valid=True))
    lab.step(ProposalChecked(message.header.value_id, None, "model_root is 1, recomputed 2"))
    lab.hear(world.certify(message.header))
    (halt,) = lab.all_of(Halt)
    assert halt.exit_code == 7
    assert "recomputed 2" in halt.reason


def test_two_votes_are_proof_kept_once_and_told(world: World) -> None:
    lab = lab_of(world, is_proposer=False)
    liar = next(place for place in range(4) if place != place_of(lab))
    for value in (None, bytes(32), b"\1" * 32):
        lab.hear(world.sign(Precommit(1, 0, value, liar, bytes(64)), world.key(liar)))
    (found,) = lab.facts(EvidenceFound)
    assert (found.culprit, found.kind) == (world.key(liar).public, "DuplicateVote")
    lab.hear(world.double_vote(liar))
    assert len(lab.facts(EvidenceFound)) == 1


def test_proof_from_others_is_kept_unless_it_is_of_a_height_to_come(world: World) -> None:
    lab = lab_of(world, is_proposer=False)
    liar = next(place for place in range(4) if place != place_of(lab))
    for height in (2, 5):  # Who votes at height 5 is not known yet.
        assert lab.hear(world.double_vote(liar, height=height)) == []
    assert lab.facts(EvidenceFound) == []
    lab.hear(world.double_vote(liar))
    lab.hear(world.double_proposal(liar))
    assert [fact.kind for fact in lab.facts(EvidenceFound)] == ["DuplicateVote", "DuplicateProposal"]


def test_evidence_goes_into_the_block_that_is_built(world: World) -> None:
    lab = lab_of(world, is_proposer=True)
    liar = next(place for place in range(4) if place != place_of(lab))
    evidence = world.double_vote(liar)
    lab.hear(evidence)
    for place in range(4):
        if place != place_of(lab):
            lab.hear(world.avail(place, []))
    (build,) = lab.all_of(BuildProposal)
    assert build.inputs.evidence == (evidence,)


def test_a_peer_that_voted_for_an_update_tells_its_header_to_the_proposer_that_lacks_it(world: World) -> None:
    lab = lab_of(world, is_proposer=False)
    for header in world.updates():
        hold(lab, header)
    work = lab.node.work
    assert work is not None
    proposer = work.engine.proposer(0)
    told: dict[int, list[Send]] = {}
    for voter in range(4):
        if voter != place_of(lab):
            effects = lab.hear(world.avail(voter, [world.update(0)]))
            sent = [effect for effect in effects if isinstance(effect, Send)]
            told[voter] = [effect for effect in sent if isinstance(effect.message, UpdateHeader)]
    assert [voter for voter, sent in told.items() if sent] == [proposer]
    assert {effect.peers for effect in told[proposer]} == {(world.key(proposer).public,)}
    assert {effect.message for effect in told[proposer]} == set(world.updates()) - {world.update(0)}


def test_the_slow_pace_of_one_height_becomes_the_patience_of_the_next(world: World) -> None:
    lab = lab_of(world, is_proposer=False)
    lab.now_ms += 400
    for header in world.updates():
        hold(lab, header)
    assert list(lab.node._shared.collect_times_ms) == [400]


def test_a_peer_that_only_follows_signs_nothing() -> None:
    world = World((10, 10, 10, 10))
    observer = Lab(world=world, key=_stranger(world))
    observer.start(connected=4)
    for header in world.updates():
        hold(observer, header)
    for place in range(4):
        observer.hear(world.avail(place, world.updates()))
    message, fetched = proposal_of(world)
    observer.hear(message)
    observer.step(fetched)
    observer.step(ProposalChecked(message.header.value_id, world.build()[2], ""))
    assert observer.all_of(Persist) == []
    assert observer.sent(Prevote) == []
    observer.hear(world.certify(message.header))
    assert observer.node.state.height == 1


def _stranger(world: World) -> PrivateKey:
    return next(key for key in private_keys(6) if key.public not in world.publics)
