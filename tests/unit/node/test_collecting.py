"""COLLECT in two parts: everybody pledges an update before anybody shows one."""

from __future__ import annotations

import msgspec
import pytest
from support.chain import World
from support.lab import Lab, sent_by

from p2pfed.consensus.signer import initial_record
from p2pfed.consensus.timeouts import PRESETS
from p2pfed.node.effects import Blame, Effect, FetchPayload, ScheduleTimeout
from p2pfed.node.events import PayloadFetched, PeerConnected, Timer, Trained
from p2pfed.node.facts import CollectEnded, PledgesEnded
from p2pfed.node.view import view_of
from p2pfed.types.availability import AvailMessage
from p2pfed.types.pledge import Pledge
from p2pfed.types.update import UpdateHeader
from p2pfed.types.wire import Digest

COLLECT = Timer("collect", 1, 0)
PRESET = PRESETS["local"]


@pytest.fixture
def world() -> World:
    return World((10, 10, 10, 10), emission=1 << 30)


@pytest.fixture
def lab(world: World) -> Lab:
    lab = Lab(world=world)
    lab.start()
    return lab


def pledge_of(world: World, header: UpdateHeader) -> Pledge:
    unsigned = Pledge(header.trainer, header.base_height, header.update_id, bytes(64))
    return world.sign(unsigned, world.keys[header.trainer])


def train(lab: Lab) -> tuple[UpdateHeader, list[Effect]]:
    """Let the peer's own training end; return its update."""
    update = lab.world.update(lab.world.publics.index(lab.key.public))
    base = lab.world.state.height
    effects = lab.step(Trained(base, update.payload_root, update.payload_bytes, update.examples))
    return update, effects


def others(lab: Lab) -> list[UpdateHeader]:
    return [header for header in lab.world.updates() if header.trainer != lab.key.public]


def fetched(effects: list[Effect]) -> list[UpdateHeader]:
    return [effect.header for effect in effects if isinstance(effect, FetchPayload)]


def test_an_update_is_pledged_first_and_shown_at_once_when_everybody_has_pledged(lab: Lab) -> None:
    own, effects = train(lab)
    (pledge,) = sent_by(effects, Pledge)
    assert pledge == pledge_of(lab.world, own)
    for header in others(lab)[:-1]:
        lab.hear(pledge_of(lab.world, header))
    assert lab.sent(UpdateHeader) == []
    assert not fetched(lab.effects)
    effects = lab.hear(pledge_of(lab.world, others(lab)[-1]))
    assert sent_by(effects, UpdateHeader) == [own]
    assert fetched(effects) == [own]
    assert [(fact.pledged, fact.reason) for fact in lab.facts(PledgesEnded)] == [(4, "all")]
    assert len(lab.node._shared.pledge_times_ms) == 1
    assert not lab.node._shared.collect_times_ms


def test_who_is_not_expected_could_still_copy_so_the_flight_is_waited_for(lab: Lab) -> None:
    own, _ = train(lab)
    headers = others(lab)[:-1]
    assert lab.node.work is not None
    expected = {own.trainer, *(header.trainer for header in headers)}
    lab.node.work.collecting._pledging.expected = frozenset(expected)
    for header in headers:
        effects = lab.hear(pledge_of(lab.world, header))
    assert [fact.reason for fact in lab.facts(PledgesEnded)] == ["all"]
    assert sent_by(effects, UpdateHeader) == []
    assert sent_by(lab.wait(PRESET.flight_ms, COLLECT), UpdateHeader) == [own]


def test_where_a_trainer_has_not_pledged_updates_are_shown_a_flight_later(lab: Lab) -> None:
    own, _ = train(lab)
    for header in others(lab)[:-1]:
        lab.hear(pledge_of(lab.world, header))
    assert sent_by(lab.wait(PRESET.grace_ms, COLLECT), UpdateHeader) == []
    assert [fact.reason for fact in lab.facts(PledgesEnded)] == ["grace"]
    (timer,) = [one for one in lab.effects[-1:] if isinstance(one, ScheduleTimeout)]
    assert timer == ScheduleTimeout(COLLECT, PRESET.flight_ms)
    assert sent_by(lab.wait(PRESET.flight_ms - 1, COLLECT), UpdateHeader) == []
    assert sent_by(lab.wait(1, COLLECT), UpdateHeader) == [own]


def test_what_was_pledged_too_late_is_not_voted_for_though_it_is_held(lab: Lab) -> None:
    own, _ = train(lab)
    early, (late,) = others(lab)[:-1], others(lab)[-1:]
    for header in early:
        lab.hear(pledge_of(lab.world, header))
    lab.wait(PRESET.grace_ms, COLLECT)
    lab.wait(PRESET.flight_ms, COLLECT)
    lab.hear(pledge_of(lab.world, late))
    assert not fetched(lab.hear(late))
    lab.step(PayloadFetched(late.update_id, is_valid=True))  # Held all the same, as where a block needed it.
    for header in (own, *early):
        lab.hear(header)
        lab.step(PayloadFetched(header.update_id, is_valid=True))
    (message,) = lab.sent(AvailMessage)
    assert message.update_ids == tuple(sorted(header.update_id for header in (own, *early)))
    assert [fact.reason for fact in lab.facts(CollectEnded)] == ["all"]
    lab.gossip()
    lab.wait(1_000)
    told = sent_by(lab.hear(Digest(1, 0, 0, -1, -1, (), bytes(1), bytes(1))), UpdateHeader)
    assert {header.update_id for header in told} == {*message.update_ids}


def test_a_late_update_is_not_passed_on(lab: Lab) -> None:
    early, late = others(lab)[0], others(lab)[1]
    work = lab.node.work
    assert work is not None
    assert work.take_update(early, lab.now_ms)  # Its pledge may be on the way.
    assert work.pool.pledges is not None
    work.pool.pledges.close()
    assert not work.take_update(late, lab.now_ms)


def test_a_pledge_of_an_older_update_is_one_for_this_height() -> None:
    world = World((10, 10, 10, 10), emission=1 << 30, update_lag=3)
    headers = world.updates()
    world.advance(headers=headers[:3], avails=world.avails(headers[:3]))
    lab = Lab(world=world, is_learning=False)
    lab.start()
    lab.hear(pledge_of(world, headers[3]))
    assert lab.node.work is not None
    assert lab.node.work.pool.is_due(headers[3])


def test_an_update_that_is_shown_before_its_pledge_comes_is_fetched_once_it_has_come(lab: Lab) -> None:
    header = others(lab)[0]
    assert not fetched(lab.hear(header))
    assert fetched(lab.hear(pledge_of(lab.world, header))) == [header]


def test_our_own_late_update_is_pledged_and_not_shown(lab: Lab) -> None:
    for header in others(lab):
        lab.hear(pledge_of(lab.world, header))
    lab.wait(PRESET.grace_ms, COLLECT)
    lab.wait(PRESET.flight_ms, COLLECT)
    _, effects = train(lab)
    assert len(sent_by(effects, Pledge)) == 1
    lab.wait(PRESET.collect_cap_ms, COLLECT)
    assert len(lab.sent(AvailMessage)) == 1
    assert lab.sent(UpdateHeader) == []


def test_availability_votes_of_a_quorum_end_both_parts(lab: Lab) -> None:
    own, _ = train(lab)
    places = [place for place in range(4) if lab.world.key(place).public != lab.key.public]
    for place in places:
        lab.hear(lab.world.avail(place, []))
    assert lab.sent(UpdateHeader) == [own]  # The others have its pledge and wait for it.
    assert [fact.reason for fact in lab.facts(CollectEnded)] == ["quorum"]


def test_who_connects_hears_of_our_pledge_and_of_our_update_only_once_it_is_shown(world: World) -> None:
    lab = Lab(world=world)
    lab.start(connected=2)
    own, _ = train(lab)
    effects = lab.step(PeerConnected(lab.others[2], None))
    assert sent_by(effects, Pledge) == [pledge_of(world, own)]
    assert sent_by(effects, UpdateHeader) == []
    for header in others(lab):
        lab.hear(pledge_of(world, header))
    lab.step(PeerConnected(lab.others[2], None))
    again = lab.node._own.words(lab.node.state, lab.node.work)
    assert again == (pledge_of(world, own), own)


def test_after_a_restart_the_same_update_is_pledged_again_and_shown_in_its_turn(world: World) -> None:
    first = Lab(world=world)
    first.start()
    own, _ = train(first)
    again = Lab(world=world, record=first.node.hand.record)
    effects = again.start()
    assert pledge_of(world, own) in sent_by(effects, Pledge)
    assert sent_by(effects, UpdateHeader) == []
    for header in others(again):
        again.hear(pledge_of(world, header))
    assert again.sent(UpdateHeader) == [own]


def test_after_a_restart_in_the_rounds_the_update_is_shown_at_once(world: World) -> None:
    first = Lab(world=world)
    first.start()
    own, _ = train(first)
    for place in range(4):
        if world.key(place).public != first.key.public:
            first.hear(world.avail(place, []))
    first.wait(PRESET.propose_ms(0), Timer("propose", 1, 0))
    assert first.node.hand.record.prevote is not None
    again = Lab(world=world, record=first.node.hand.record)
    assert own in sent_by(again.start(), UpdateHeader)


def test_a_digest_is_answered_with_pledges_and_never_with_what_is_not_shown(lab: Lab) -> None:
    own, _ = train(lab)
    pledge = pledge_of(lab.world, others(lab)[0])
    lab.hear(pledge)
    lab.gossip()
    lab.wait(1_000)
    nothing = Digest(1, 0, 0, -1, -1, (), bytes(1), bytes(1))
    effects = lab.hear(nothing)
    assert {one.update_id for one in sent_by(effects, Pledge)} == {own.update_id, pledge.update_id}
    assert sent_by(effects, UpdateHeader) == []


def test_people_are_told_who_has_not_pledged_and_then_whose_payload_is_missing(lab: Lab) -> None:
    train(lab)
    headers = others(lab)
    assert view_of(lab.node, lab.now_ms).waiting_for == tuple(sorted(one.trainer for one in headers))
    for header in headers:
        lab.hear(pledge_of(lab.world, header))
    assert len(view_of(lab.node, lab.now_ms).waiting_for) == 4


def test_who_pledges_and_shows_nothing_is_waited_for_no_longer_than_any_payload(lab: Lab) -> None:
    train(lab)
    for header in others(lab):
        lab.hear(pledge_of(lab.world, header))
    lab.wait(PRESET.collect_cap_ms, COLLECT)
    assert [fact.reason for fact in lab.facts(CollectEnded)] == ["deadline"]


def test_a_pledge_where_nothing_is_paid_costs_its_sender() -> None:
    lab = Lab()
    lab.start()
    effects = lab.hear(pledge_of(lab.world, others(lab)[0]))
    assert [effect.peer for effect in effects if isinstance(effect, Blame)] == [lab.others[0]]


def test_no_pledge_at_all_is_waited_for_as_long_as_no_update_is(world: World) -> None:
    record = msgspec.structs.replace(initial_record(), height=0)
    lab = Lab(world=world, record=record, is_learning=False)
    lab.start()
    lab.wait(PRESET.collect_cap_ms, COLLECT)
    assert lab.facts(PledgesEnded) == []
    lab.wait(PRESET.empty_ms, COLLECT)
    lab.wait(PRESET.flight_ms, COLLECT)
    assert [fact.held for fact in lab.facts(CollectEnded)] == [0]


def test_a_peer_with_few_pipes_waits_by_the_clock_once_others_pass_on_the_words_of_a_quorum() -> None:
    lab = Lab()
    lab.start(connected=1)
    assert lab.node.work is not None
    clock = lab.node.work.collecting.clock
    far = [header for header in others(lab) if header.trainer != lab.others[0]]
    assert clock.started_ms is None  # Two of four are within reach.
    lab.hear(far[0])
    assert clock.started_ms == lab.now_ms
    lab.wait(clock.deadline_ms, COLLECT)
    assert [fact.reason for fact in lab.facts(CollectEnded)] == ["deadline"]


def test_an_availability_vote_is_heard_of_too() -> None:
    lab = Lab()
    lab.start(connected=1)
    validators = lab.world.state.validators
    far = validators.index_of(lab.others[2])
    assert far is not None
    lab.hear(lab.world.avail(far, ()))
    assert lab.node.work is not None
    assert lab.node.work.collecting.clock.started_ms == lab.now_ms
