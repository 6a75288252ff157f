"""One peer, silent: what it answers to what it is told, from its start to the end of its network."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace
from support.chain import World
from support.lab import FOUR, Lab, sent_by

from p2pfed.consensus.certificates import precommits_of, verify_commit
from p2pfed.consensus.signer import SignAvail, Signed, SignPrevote, SignUpdate, decide, initial_record
from p2pfed.consensus.timeouts import PRESETS
from p2pfed.errors import BadSignature, WrongHeight
from p2pfed.node import events, height_messages
from p2pfed.node.effects import (
    Blame,
    Effect,
    FetchBlocks,
    FetchModel,
    Persist,
    ScheduleTimeout,
    Send,
    StoreBlock,
    Train,
)
from p2pfed.node.events import BodyFetched, PayloadFetched, ProposalChecked, Timer, Trained
from p2pfed.node.facts import (
    BlockCommitted,
    BlocksGone,
    CatchingUp,
    EvidenceFound,
    HeightStarted,
    NetworkFinished,
    StakeSlashed,
    UpdateMade,
    UpdateRefused,
    UpdateSkipped,
)
from p2pfed.node.height_messages import EARLY_BYTES_MAX, EARLY_BYTES_PER_PEER_MAX, EarlyMessages
from p2pfed.node.node import BEHIND_MS, GOSSIP_MS
from p2pfed.node.view import view_of
from p2pfed.primitives import codec
from p2pfed.types.availability import AvailMessage
from p2pfed.types.block import Block
from p2pfed.types.certificate import CommitCert
from p2pfed.types.message import SignedMessage
from p2pfed.types.params import VALIDATORS_MAX
from p2pfed.types.proposal import Proposal
from p2pfed.types.transaction import Transfer
from p2pfed.types.update import CODEC_INT16, UpdateHeader
from p2pfed.types.vote import Prevote
from p2pfed.types.wire import Digest, ProposalMessage


def of(effects: list[Effect], kind: type) -> list:
    return [effect for effect in effects if isinstance(effect, kind)]


def trained(world: World, lab: Lab) -> Trained:
    update = world.update(world.publics.index(lab.key.public))
    return Trained(world.state.height, update.payload_root, update.payload_bytes, update.examples)


# Starting


def test_a_peer_starts_with_gossip_its_height_and_its_training() -> None:
    lab = Lab()
    effects = lab.step(events.Started())
    assert Timer("gossip", 0, 0) in [effect.timer for effect in of(effects, ScheduleTimeout)]
    assert [fact.height for fact in lab.facts(HeightStarted)] == [1]
    (train,) = of(effects, Train)
    assert (train.base_height, train.state) == (0, lab.world.state)


def test_a_peer_without_a_learner_or_without_stake_does_not_train() -> None:
    assert not of(Lab(is_learning=False).start(), Train)
    world = World(FOUR)
    stranger = World((10,) * 6)
    key = next(key for public, key in stranger.keys.items() if public not in world.publics)
    assert not of(Lab(world=world, key=key).start(), Train)


def test_what_was_trained_is_signed_durable_and_pushed() -> None:
    lab = Lab()
    lab.start()
    effects = lab.step(trained(lab.world, lab))
    kinds = [type(effect) for effect in effects]
    assert kinds.index(Persist) < kinds.index(Send)
    (header,) = sent_by(effects, UpdateHeader)
    assert header.trainer == lab.key.public
    assert [fact.update_id for fact in lab.facts(UpdateMade)] == [header.update_id]


def test_training_for_a_height_that_is_past_is_thrown_away() -> None:
    lab = Lab()
    lab.start()
    assert lab.step(Trained(7, bytes(32), 32, 1)) == []
    assert lab.step(events.TrainingFailed(7, "late")) == []
    lab.step(events.TrainingFailed(0, "no data"))
    assert [fact.reason for fact in lab.facts(UpdateSkipped)] == ["no data"]


def test_an_update_signed_before_a_restart_is_published_again_and_never_another() -> None:
    world = World(FOUR)
    key = world.keys[world.publics[0]]
    update = world.update(0)
    request = SignUpdate(
        0, update.base_model_root, update.payload_bytes, update.payload_root, CODEC_INT16, 10
    )
    signed = decide(initial_record(), request, key, world.genesis.chain_id)
    assert isinstance(signed, Signed)
    lab = Lab(world=world, record=signed.record)
    effects = lab.start()
    assert not of(effects, Train)
    assert lab.facts(UpdateMade)
    assert lab.node.work is not None
    assert list(lab.node.work.pool.known.values()) == [signed.message]
    lab.effects.clear()
    lab.step(Trained(0, bytes(32), update.payload_bytes, 99))
    assert set(lab.sent(UpdateHeader)) <= {signed.message}
    assert lab.all_of(Persist) == []


def test_a_peer_whose_blocks_are_older_than_its_last_update_does_not_train_until_it_has_caught_up() -> None:
    world = World(FOUR)
    update = world.update(0)
    request = SignUpdate(
        5, update.base_model_root, update.payload_bytes, update.payload_root, CODEC_INT16, 10
    )
    signed = decide(initial_record(), request, world.keys[world.publics[0]], world.genesis.chain_id)
    assert isinstance(signed, Signed)
    lab = Lab(world=world, record=signed.record)
    assert not of(lab.start(), Train)
    assert lab.sent(UpdateHeader) == []


def test_an_availability_vote_from_before_a_restart_stands_whatever_is_held_now() -> None:
    world = World(FOUR)
    place = world.state.validators.index_of(world.publics[0])
    assert place is not None
    signed = decide(
        initial_record(), SignAvail(1, 0, place, (), 1 << 41), world.key(place), world.genesis.chain_id
    )
    assert isinstance(signed, Signed)
    lab = Lab(world=world, record=signed.record)
    lab.start()
    for header in world.updates():
        lab.hear(header)
        lab.step(PayloadFetched(header.update_id, is_valid=True))
    assert lab.node.work is not None
    assert lab.node.work.pool.avails[place] == signed.message
    lab.hear(digest_at(world))  # Of a peer that holds nothing.
    assert {*lab.sent(AvailMessage)} == {signed.message}


def test_a_vote_from_before_a_restart_is_the_only_one_of_its_round() -> None:
    world = World(FOUR)
    place = world.state.validators.index_of(world.publics[0])
    assert place is not None
    avail = decide(
        initial_record(), SignAvail(1, 0, place, (), 1 << 41), world.key(place), world.genesis.chain_id
    )
    assert isinstance(avail, Signed)
    vote = decide(avail.record, SignPrevote(1, 0, None, -1, place), world.key(place), world.genesis.chain_id)
    assert isinstance(vote, Signed)
    lab = Lab(world=world, record=vote.record)
    lab.start()
    header, body, after = world.build()
    lab.step(BodyFetched(header, body))
    lab.step(ProposalChecked(header.value_id, after, ""))
    lab.hear(digest_at(world))  # Of a peer that holds nothing.
    assert {*lab.sent(Prevote)} == {vote.message}
    assert {*lab.sent(AvailMessage)} == {avail.message}
    timers = [effect.timer for effect in lab.all_of(ScheduleTimeout)]
    assert Timer("prevote", 1, 0) in timers


# Messages


def test_a_message_of_the_next_height_waits_until_we_are_there() -> None:
    world = World(FOUR)
    lab = Lab(world=world, is_learning=False)
    lab.start()
    ahead = World(FOUR)
    ahead.advance()
    early = ahead.update(1)
    assert not of(lab.hear(early), Blame)
    assert lab.node.work is not None
    assert early.update_id not in lab.node.work.pool.known
    commit(lab, world)
    assert lab.node.state.height == 1
    assert lab.node.work is not None
    assert early.update_id in lab.node.work.pool.known


def commit(lab: Lab, world: World, **inputs: object) -> Block:
    """Let the peer decide on and check the world's next block."""
    state = world.state
    header, body, after = world.build(**inputs)
    place = state.validators.index_of(header.proposer)
    assert place is not None
    proposal = Proposal(header.height, 0, header.value_id, -1, place, bytes(64))
    lab.hear(ProposalMessage(world.sign(proposal, world.key(place)), header, None))
    lab.step(BodyFetched(header, body))
    for update in body.updates:
        lab.step(PayloadFetched(update.update_id, is_valid=True))
    lab.step(ProposalChecked(header.value_id, after, ""))
    block = Block(header, body, world.certify(header))
    lab.hear(block.commit)
    world.state, world.last_commit = after, block.commit
    return block


def test_early_messages_are_bounded_for_each_peer_and_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(height_messages, "EARLY_PER_PEER_MAX", 2)
    monkeypatch.setattr(height_messages, "EARLY_MESSAGES_MAX", 3)
    ahead = World(FOUR)
    ahead.advance()
    lab = Lab()
    lab.start()
    for peer in lab.others[:2]:
        for trainer in range(3):
            lab.hear(ahead.update(trainer), peer)
    assert len(lab.node._early.messages) == 3
    assert [peer for peer, _, _ in lab.node._early.messages] == [lab.others[0], lab.others[0], lab.others[1]]


def test_early_messages_are_bounded_by_their_bytes_too() -> None:
    early = EarlyMessages()
    cert = CommitCert(2, 0, bytes(32), bytes(50), (bytes(64),) * VALIDATORS_MAX)
    size = len(codec.encode(cert))
    for sender in range(EARLY_BYTES_MAX // EARLY_BYTES_PER_PEER_MAX + 1):
        for _ in range(EARLY_BYTES_PER_PEER_MAX // size + 1):
            early.keep(bytes([sender]), cert, b"")
    of_first = sum(peer == bytes([0]) for peer, *_ in early.messages)
    assert of_first == EARLY_BYTES_PER_PEER_MAX // size
    assert len(early.messages) == EARLY_BYTES_MAX // size
    early.pop_all()
    early.keep(bytes([0]), cert, b"")
    assert len(early.messages) == 1


def test_what_is_two_heights_ahead_is_not_kept() -> None:
    lab = Lab()
    lab.start()
    lab.hear(lab.world.update(1, base_height=2))
    assert lab.node._early.messages == []


def test_what_is_late_costs_nobody_anything() -> None:
    world = World(FOUR)
    late = world.update(1)
    world.advance()
    lab = Lab(world=world)
    lab.start()
    assert lab.hear(late) == []


def test_a_precommit_that_comes_after_the_decision_joins_the_next_last_commit() -> None:
    world = World(FOUR)
    header, _, after = world.build()
    place = next(index for index in range(4) if world.key(index).public not in world.publics[:2])
    votes = precommits_of(world.certify(header), world.state.validators)
    world.last_commit = world.certify(header, [index for index in range(4) if index != place])
    voters, world.state = world.state.validators, after
    lab = Lab(world=world)
    lab.start()
    late, (other, _) = votes[place], votes[:2]
    forged = replace(late, signature=other.signature)
    lab.hear(forged)
    assert [type(effect.fault) for effect in lab.all_of(Blame)] == [BadSignature]
    for useless in (
        other,
        world.sign(replace(late, value_id=None), world.keys[voters.validators[place].key]),
    ):
        lab.hear(useless)
        assert lab.node.last_commit == world.last_commit
    lab.hear(late)
    assert lab.node.last_commit is not None
    verify_commit(lab.node.last_commit, voters, world.genesis.chain_id)
    assert len(lab.node.last_commit.signatures) == 4
    assert lab.node.work is not None
    assert lab.node.work.last_commit == lab.node.last_commit


def test_a_forged_message_costs_whoever_sent_it_and_changes_nothing() -> None:
    lab = Lab()
    lab.start()
    forged = msgspec.structs.replace(lab.world.update(1), signature=bytes(64))
    (blame,) = of(lab.hear(forged, lab.others[2]), Blame)
    assert blame.peer == lab.others[2]
    assert isinstance(blame.fault, BadSignature)
    assert lab.node.work is not None
    assert lab.node.work.pool.known == {}


def test_a_forged_vote_does_not_keep_the_real_one_out() -> None:
    lab = Lab()
    lab.start()
    place = next(p for p in range(4) if lab.world.key(p).public != lab.key.public)
    real = lab.world.sign(Prevote(1, 0, None, -1, place, bytes(64)), lab.world.key(place))
    lab.hear(msgspec.structs.replace(real, signature=bytes(64)), lab.others[2])
    assert lab.node.work is not None
    assert not any(any(entry.prevotes) for entry in lab.node.work.engine.digest_rounds())
    lab.hear(real)
    assert any(any(entry.prevotes) for entry in lab.node.work.engine.digest_rounds())


def test_a_vote_from_far_ahead_is_cheap_for_a_slow_honest_sender() -> None:
    lab = Lab()
    lab.start()
    place = next(p for p in range(4) if lab.world.key(p).public != lab.key.public)
    vote = lab.world.sign(Prevote(1, 50, None, -1, place, bytes(64)), lab.world.key(place))
    (blame,) = of(lab.hear(vote), Blame)
    assert isinstance(blame.fault, WrongHeight)


def test_transfers_are_kept_and_passed_on() -> None:
    lab = Lab()
    lab.start(connected=2)
    transfer = lab.world.transfer(1, 0, 5, 1, 0)
    assert sent_by(lab.hear(transfer), Transfer) == [transfer]
    assert lab.hear(transfer, lab.others[1]) == []


# Blocks


def test_a_decided_and_checked_block_is_stored_and_the_next_height_begins() -> None:
    world = World(FOUR)
    lab = Lab(world=world)
    lab.start()
    block = commit(lab, world)
    (store,) = lab.all_of(StoreBlock)
    assert store.block.header == block.header
    assert store.state.header_hash == block.header.value_id == lab.node.state.header_hash
    (fact,) = lab.facts(BlockCommitted)
    assert (fact.height, fact.updates, fact.expected, fact.caught_up) == (1, 4, 4, False)
    assert [fact.height for fact in lab.facts(HeightStarted)] == [1, 2]
    assert [train.base_height for train in lab.all_of(Train)] == [0, 1]
    assert lab.node.last_commit == block.commit


def test_an_update_whose_payload_never_came_is_named_once_its_height_is_over() -> None:
    world = World(FOUR)
    lab = Lab(world=world)
    lab.start()
    *merged, withheld, late = world.updates()
    for header in (withheld, late):
        lab.hear(header)
    assert lab.facts(UpdateRefused) == []
    commit(lab, world, headers=(*merged, late))  # The others held what came late here: it counts.
    assert [(fact.height, fact.trainer) for fact in lab.facts(UpdateRefused)] == [(1, withheld.trainer)]
    commit(lab, world)
    assert len(lab.facts(UpdateRefused)) == 1


def test_the_block_is_durable_before_anything_of_the_next_height_leaves() -> None:
    world = World(FOUR)
    lab = Lab(world=world)
    lab.start()
    commit(lab, world)
    store = lab.effects.index(lab.all_of(StoreBlock)[0])
    train = lab.effects.index(lab.all_of(Train)[1])
    assert store < train


def test_a_certificate_without_its_block_waits_for_the_block_and_then_fetches_it() -> None:
    world = World(FOUR)
    lab = Lab(world=world)
    lab.start()
    header, _, _ = world.build()
    effects = lab.hear(world.certify(header))
    assert not of(effects, StoreBlock)
    assert Timer("sync", 1, 0) in [effect.timer for effect in of(effects, ScheduleTimeout)]


def test_the_last_height_ends_the_work_and_is_told() -> None:
    world = World(FOUR, height_final=1)
    lab = Lab(world=world)
    lab.start()
    commit(lab, world)
    assert [fact.height for fact in lab.facts(NetworkFinished)] == [1]
    assert lab.node.is_finished
    assert lab.node.work is None
    assert not lab.node.is_everyone_finished
    told = [e for e in lab.all_of(Send) if isinstance(e.message, Digest) and e.message.height == 2]
    assert sorted(peer for effect in told for peer in effect.peers) == sorted(lab.others)
    digest = next(iter(sent_by(lab.gossip(), Digest)))
    assert digest.height == 2
    for peer in lab.others:
        assert not lab.node.is_everyone_finished
        lab.hear(digest, peer)
    assert lab.node.is_everyone_finished


def test_heights_without_a_new_model_make_the_next_one_wait_longer_for_updates() -> None:
    world = World(FOUR)
    lab = Lab(world=world, is_learning=False)
    lab.start()
    waits = []
    for headers in (world.updates(), (), (), None):
        commit(lab, world, headers=world.updates() if headers is None else headers)
        assert lab.node.work is not None
        waits.append(lab.node.work.collecting.clock.deadline_ms)
    floor, cap = PRESETS["local"].collect_floor_ms, PRESETS["local"].collect_cap_ms
    assert waits == [floor, 2 * cap, 4 * cap, floor]  # Collecting took no time here, so the floor it is.


def test_proof_in_a_block_is_told_and_leaves_the_pool() -> None:
    world = World(FOUR)
    lab = Lab(world=world, is_learning=False)
    lab.start()
    liar = next(p for p in range(4) if world.key(p).public != lab.key.public)
    evidence = world.double_vote(liar)
    lab.hear(evidence)
    before = world.build

    def build(round0: int = 0, **changes: object):
        return before(round0, evidence=(evidence,), **changes)

    world.build = build  # type: ignore[method-assign]
    commit(lab, world)
    assert [fact.kind for fact in lab.facts(EvidenceFound)] == ["DuplicateVote"]
    assert [fact.kind for fact in lab.facts(StakeSlashed)] == ["DUPLICATE_VOTE"]
    assert lab.node._shared.evidence.select() == ()
    lab.hear(evidence)
    assert lab.node._shared.evidence.select() == ()


def test_a_convict_does_not_count_among_the_reachable_power_two_heights_later() -> None:
    world = World(FOUR)
    lab = Lab(world=world, is_learning=False)
    lab.start()
    liar = next(place for place in range(4) if world.key(place).public != lab.key.public)
    key = world.key(liar).public
    commit(lab, world, evidence=(world.double_vote(liar),))
    assert lab.node.neighbours.connected_power == 40
    commit(lab, world)
    assert lab.node.state.validators.index_of(key) is None
    assert lab.node.neighbours.connected_power == 30


# Catching up


def chain(heights: int, **changes: object) -> tuple[World, World, tuple[Block, ...]]:
    """Return a world at genesis, one after `heights` blocks, and the blocks."""
    late, ahead = World(FOUR, **changes), World(FOUR, **changes)
    return late, ahead, tuple(ahead.advance() for _ in range(heights))


def digest_at(world: World) -> Digest:
    return sent_by(Lab(1, world=world).start(connected=1), Digest)[0]


def test_a_peer_far_behind_fetches_blocks_then_the_model_then_works_again() -> None:
    late, ahead, blocks = chain(3)
    lab = Lab(world=late)
    lab.start()
    peer = lab.others[0]
    (fetch,) = of(lab.hear(digest_at(ahead)), FetchBlocks)
    assert (fetch.peer, fetch.from_height) == (peer, 1)
    effects = lab.step(events.BlocksFetched(peer, blocks))
    assert [effect.block.header.height for effect in of(effects, StoreBlock)] == [1, 2, 3]
    assert all(fact.caught_up for fact in lab.facts(BlockCommitted))
    assert lab.node.work is None
    (model,) = of(effects, FetchModel)
    assert model.header == blocks[-1].header
    effects = lab.step(events.ModelFetched(3, ahead.state.model))
    assert [train.base_height for train in of(effects, Train)] == [3]
    assert lab.node.work is not None
    assert lab.node.work.height == 4
    assert sent_by(effects, Digest)
    assert [fact.target for fact in lab.facts(CatchingUp)] == [3]


def test_one_block_behind_is_given_the_time_that_our_own_vote_needs() -> None:
    late, ahead, _ = chain(1)
    lab = Lab(world=late)
    lab.start()
    effects = lab.hear(digest_at(ahead))
    assert not of(effects, FetchBlocks)
    assert [(effect.timer, effect.delay_ms) for effect in of(effects, ScheduleTimeout)] == [
        (Timer("sync", 1, 0), BEHIND_MS)
    ]
    assert of(lab.wait(BEHIND_MS, Timer("sync", 1, 0)), FetchBlocks)


def test_a_sync_timer_of_a_height_that_is_done_asks_for_nothing() -> None:
    late, ahead, _ = chain(1)
    lab = Lab(world=late)
    lab.start()
    lab.hear(digest_at(ahead))
    commit(lab, late)
    ahead.advance()
    lab.hear(digest_at(ahead), lab.others[1])
    assert not of(lab.wait(BEHIND_MS, Timer("sync", 1, 0)), FetchBlocks)


def test_a_block_that_no_quorum_signed_costs_its_sender_and_is_not_stored() -> None:
    late, ahead, blocks = chain(2)
    lab = Lab(world=late)
    lab.start()
    lab.hear(digest_at(ahead))
    false = Block(blocks[0].header, blocks[0].body, blocks[1].commit)
    effects = lab.step(events.BlocksFetched(lab.others[0], (false,)))
    assert not of(effects, StoreBlock)
    assert [effect.peer for effect in of(effects, Blame)] == [lab.others[0]]
    assert lab.node.state.height == 0


def test_who_needs_blocks_that_nobody_has_any_more_is_told_so_once_and_what_to_do() -> None:
    late, ahead, blocks = chain(2)
    lab = Lab(world=late)
    lab.start(connected=2)
    first, second, third = lab.others

    def asked(peer: bytes) -> None:
        assert [fetch.peer for fetch in of(lab.hear(digest_at(ahead), peer), FetchBlocks)] == [peer]

    asked(first)
    lab.step(events.BlocksFetched(first, (), is_missing=True))
    assert not lab.node.is_cut_off  # The other one may have them, or be as late as we are.
    asked(second)
    lab.step(events.BlocksFetched(second, ()))
    assert not lab.node.is_cut_off  # It failed, and may have them all the same.
    asked(second)
    lab.step(events.BlocksFetched(second, (), is_missing=True))
    (fact,) = lab.facts(BlocksGone)
    assert fact.height == 1
    assert "--sync state" in fact.remedy
    assert view_of(lab.node, lab.now_ms).step == "cut_off"
    asked(first)
    lab.step(events.BlocksFetched(first, (), is_missing=True))
    assert len(lab.facts(BlocksGone)) == 1
    lab.step(events.PeerConnected(third, None))
    asked(third)
    assert not lab.node.is_cut_off
    lab.step(events.BlocksFetched(third, blocks))
    assert lab.node.state.height == 2
    lab.step(events.PeerDisconnected(third))
    assert not lab.node.is_cut_off  # What the others lacked is here.


def test_members_without_the_blocks_that_leave_take_their_word_with_them() -> None:
    late, ahead, _ = chain(2)
    lab = Lab(world=late)
    lab.start(connected=1)
    peer = lab.others[0]
    lab.hear(digest_at(ahead))
    lab.step(events.BlocksFetched(peer, (), is_missing=True))
    assert lab.node.is_cut_off
    lab.step(events.PeerDisconnected(peer))
    assert not lab.node.is_cut_off
    lab.step(events.PeerConnected(peer, None))
    assert not lab.node.is_cut_off


def test_blocks_that_nobody_asked_for_are_not_looked_at() -> None:
    late, ahead, blocks = chain(2)
    lab = Lab(world=late)
    lab.start()
    lab.hear(digest_at(ahead))
    assert not of(lab.step(events.BlocksFetched(lab.others[1], blocks)), StoreBlock)


def test_the_last_model_is_fetched_after_a_restart_though_the_network_has_ended() -> None:
    _, ahead, _ = chain(2, height_final=2)
    lab = Lab(world=ahead, state=replace(ahead.state, model=None))
    lab.start()
    other = Lab(1, world=ahead)
    digest = sent_by(other.start(connected=1), Digest)[0]
    effects = lab.hear(digest) + lab.gossip()
    (fetch,) = of(effects, FetchModel)
    assert fetch.header.height == 2
    assert not of(lab.gossip(), FetchModel)
    lab.step(events.ModelFetched(2, ahead.state.model))
    assert lab.node.state.model is not None
    assert lab.node.work is None


def test_a_peer_that_has_everything_asks_for_nothing() -> None:
    _, ahead, _ = chain(2, height_final=2)
    lab = Lab(world=ahead)
    lab.start()
    lab.hear(digest_at(ahead))
    assert not of(lab.gossip(), FetchModel)
    assert not of(lab.gossip(), FetchBlocks)


def test_gossip_goes_on_for_ever() -> None:
    lab = Lab()
    lab.start()
    for _ in range(3):
        timers = [effect for effect in of(lab.gossip(), ScheduleTimeout) if effect.timer.kind == "gossip"]
        assert [effect.delay_ms for effect in timers] == [GOSSIP_MS]


def test_nothing_that_is_sent_is_unsigned_or_of_somebody_else() -> None:
    world = World(FOUR)
    lab = Lab(world=world)
    lab.start()
    lab.step(trained(world, lab))
    commit(lab, world)
    own = [m for m in lab.sent(SignedMessage) if isinstance(m, UpdateHeader) and m.trainer == lab.key.public]
    assert own
    assert all(message.is_signed_by(lab.key.public, world.genesis.chain_id) for message in own)


# Updates that are older than one height


def slow_lab() -> tuple[Lab, list[Train]]:
    """Return a peer whose first training is under way while two blocks pass without it."""
    lab = Lab(world=World(FOUR, update_lag=3))
    lab.start()
    others = [place for place in range(4) if lab.world.publics[place] != lab.key.public]
    blocks = tuple(
        lab.world.advance(headers=tuple(lab.world.update(place) for place in others)) for _ in range(2)
    )
    lab.hear(digest_at(lab.world))
    lab.step(events.BlocksFetched(lab.others[0], blocks))
    lab.step(events.ModelFetched(2, lab.world.state.model))
    assert lab.node.state.height == 2
    return lab, lab.all_of(Train)


def test_a_training_goes_on_while_its_update_may_count_and_the_next_begins_at_the_newest_model() -> None:
    lab, trainings = slow_lab()
    assert [effect.base_height for effect in trainings] == [0]
    update = lab.world.update(lab.world.publics.index(lab.key.public), base=trainings[0].state)
    effects = lab.step(Trained(0, update.payload_root, update.payload_bytes, update.examples))
    (header,) = sent_by(effects, UpdateHeader)
    assert (header.base_height, header.base_model_root) == (0, trainings[0].state.model_root)
    assert [effect.base_height for effect in of(effects, Train)] == [2]
    assert not of(lab.step(Trained(0, update.payload_root, update.payload_bytes, update.examples)), Train)


def test_a_slow_training_that_fails_is_followed_by_one_from_the_newest_model() -> None:
    lab, _ = slow_lab()
    effects = lab.step(events.TrainingFailed(0, "no data"))
    assert [fact.reason for fact in lab.facts(UpdateSkipped)] == ["no data"]
    assert [effect.base_height for effect in of(effects, Train)] == [2]


def test_an_older_update_of_another_is_taken_and_one_that_is_too_old_is_let_pass() -> None:
    lab, trainings = slow_lab()
    other = lab.world.publics.index(lab.others[0])
    first = trainings[0].state
    late = lab.world.update(other, base=first)
    assert not lab.all_of(Blame)
    lab.hear(late)  # Its trainer has counted since: nobody is to blame, and it is not wanted.
    assert late.update_id not in lab.node.work.pool.known
    own = lab.world.update(lab.world.publics.index(lab.key.public), base=first)
    lab.hear(own)
    assert own.update_id in lab.node.work.pool.known
    assert not lab.all_of(Blame)
