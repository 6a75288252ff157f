"""Digests: whatever a push lost, the next digest finds, and only what is missing is sent."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import msgspec
import pytest
from support.chain import World, private_keys
from support.lab import Lab, sent_by

from p2pfed.consensus.timeouts import PRESETS
from p2pfed.errors import MalformedMessage
from p2pfed.node.digesting import (
    NOTES_PER_FLIGHT,
    REPLY_MESSAGES_MAX,
    Settled,
    digest_of,
    expected,
    lacking,
    lacking_to_follow,
)
from p2pfed.node.effects import Effect, Send
from p2pfed.node.events import (
    BodyFetched,
    PayloadFetched,
    PeerConnected,
    PeerDisconnected,
    ProposalChecked,
    Timer,
    Trained,
)
from p2pfed.node.node import GOSSIP_MS
from p2pfed.types.availability import AvailMessage
from p2pfed.types.bitmap import indices_of
from p2pfed.types.certificate import CommitCert, PolkaCert
from p2pfed.types.proposal import Proposal
from p2pfed.types.update import UpdateHeader
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import ControlMessage, Digest, ProposalMessage, RoundVotes

FLIGHT_MS = PRESETS["local"].flight_ms


def of_agreement(effects: list[Effect]) -> list[ControlMessage]:
    """Return what was sent of a height: all but digests and records."""
    kinds = (UpdateHeader, AvailMessage, ProposalMessage, Prevote, Precommit, PolkaCert, CommitCert)
    return [message for kind in kinds for message in sent_by(effects, kind)]


@dataclass
class Table:
    """A full peer that heard everything of height 1, and one that heard nothing."""

    full: Lab
    empty: Lab
    said: dict[str, ControlMessage]

    def reply(self) -> list[ControlMessage]:
        assert self.full.node.work is not None
        return lacking(self.full.node.work, digest_of(self.empty.node.state, self.empty.node.work))

    def let_settle(self) -> None:
        """Let so much time pass that what the full peer holds has come everywhere, or is lost."""
        self.full.gossip()
        self.full.wait(FLIGHT_MS)


@pytest.fixture
def table() -> Table:
    world = World((10, 10, 10, 10))
    place = world.state.validators.index_of(world.proposer())
    assert place is not None
    listener, other = [index for index in range(4) if index != place][:2]
    full, empty = (
        Lab(world=world, key=world.key(listener)),
        Lab(world=world, key=world.key(other), is_learning=False),
    )
    header, _, _ = world.build()
    proposal = ProposalMessage(
        world.sign(Proposal(1, 0, header.value_id, -1, place, bytes(64)), world.key(place)), header, None
    )
    vote = world.sign(Prevote(1, 0, header.value_id, -1, place, bytes(64)), world.key(place))
    precommit = world.sign(Precommit(1, 0, None, place, bytes(64)), world.key(place))
    update = world.update(world.publics.index(world.proposer()))
    avail = world.avail(place, [update])
    full.start()
    empty.start()
    said: dict[str, ControlMessage] = {
        "update": update, "avail": avail, "proposal": proposal, "vote": vote, "precommit": precommit,
    }  # fmt: skip
    for message in said.values():
        full.hear(message)
    return Table(full, empty, said)


@pytest.mark.parametrize("name", ["update", "avail", "proposal", "vote", "precommit"])
def test_a_digest_repairs_what_was_lost(table: Table, name: str) -> None:
    assert table.said[name] in table.reply()
    for message in table.said.values():
        if message is not table.said[name]:
            table.empty.hear(message)
    assert table.said[name] in table.reply()
    table.empty.hear(table.said[name])
    assert table.said[name] not in table.reply()


def test_an_observer_is_told_of_blocks_and_of_what_makes_them_final_alone(table: Table) -> None:
    world, nothing = table.full.world, digest_of(table.full.world.state, None)
    observer = next(key.public for key in private_keys(9) if key.public not in world.publics)
    lab = Lab(world=world, key=table.full.key)
    lab.start()
    lab.step(PeerConnected(observer, None))
    lab.effects.clear()
    for name in ("update", "avail", "proposal", "vote"):
        lab.hear(table.said[name])
    lab.wait(2 * FLIGHT_MS)
    lab.hear(nothing, observer)
    header, _, _ = world.build()
    decision = world.certify(header)
    lab.hear(decision)  # The block is not checked here yet.
    lab.wait(2 * GOSSIP_MS)
    lab.hear(nothing, observer)
    told = [effect.message for effect in lab.all_of(Send) if observer in effect.peers]
    assert told == [table.said["proposal"], decision, decision, table.said["proposal"]]
    held = msgspec.structs.replace(nothing, rounds=(RoundVotes(0, bytes(1), bytes(1), has_proposal=True),))
    assert lab.node.work is not None
    assert lacking_to_follow(lab.node.work, held) == [decision]


def test_two_peers_that_hold_the_same_have_nothing_to_say(table: Table) -> None:
    for message in table.reply():
        table.empty.hear(message)
    work = table.empty.node.work
    assert work is not None
    assert lacking(work, digest_of(table.empty.node.state, work)) == []


def test_a_peer_asks_in_every_gossip_and_is_answered(table: Table) -> None:
    (digest,) = sent_by(table.empty.gossip(), Digest)[:1]
    table.let_settle()
    effects = table.full.hear(digest, table.empty.key.public)
    for kind in (UpdateHeader, AvailMessage, ProposalMessage, Prevote, Precommit):
        assert sent_by(effects, kind), kind


def test_answers_are_not_given_as_fast_as_anyone_asks(table: Table) -> None:
    digest = digest_of(table.empty.node.state, table.empty.node.work)
    table.let_settle()
    assert table.full.hear(digest)
    assert not sent_by(table.full.hear(digest), AvailMessage)
    table.full.now_ms += GOSSIP_MS // 4 - 1
    assert not sent_by(table.full.hear(digest), AvailMessage)
    table.full.now_ms += 1
    assert sent_by(table.full.hear(digest), AvailMessage)
    assert sent_by(table.full.hear(digest, table.full.others[1]), AvailMessage)


@pytest.mark.parametrize("kind", [UpdateHeader, AvailMessage, ProposalMessage, Prevote, Precommit])
def test_what_came_a_moment_ago_is_on_its_way_to_the_others_and_not_sent_again(
    table: Table, kind: type
) -> None:
    (message,) = (message for message in table.said.values() if isinstance(message, kind))
    late = Lab(world=table.full.world, key=table.full.key)
    late.start()
    for other in table.said.values():
        if other is not message:
            late.hear(other)
    late.gossip()
    late.wait(1)
    late.hear(message)
    late.wait(FLIGHT_MS - 1)
    digest = digest_of(table.empty.node.state, table.empty.node.work)
    sent = late.hear(digest)
    assert len(of_agreement(sent)) == len(table.said) - 1
    assert not sent_by(sent, kind)
    late.wait(GOSSIP_MS // 4)
    assert sent_by(late.hear(digest), kind) == [message]


def test_votes_of_a_round_that_was_over_long_ago_are_given_at_once(table: Table) -> None:
    world, digest = table.full.world, digest_of(table.empty.node.state, table.empty.node.work)
    table.let_settle()
    for round_ in (4, 5):
        for place in range(4):
            table.full.hear(world.sign(Prevote(1, round_, None, -1, place, bytes(64)), world.key(place)))
    table.let_settle()
    old = world.sign(Precommit(1, 0, None, 0, bytes(64)), world.key(0))
    table.full.hear(old)
    assert old in sent_by(table.full.hear(digest), Precommit)


def test_a_polka_of_a_moment_ago_is_not_sent_again(table: Table) -> None:
    work = table.full.node.work
    assert work is not None
    work.engine = SimpleNamespace(valid_round=3)  # type: ignore[assignment]
    ours = msgspec.structs.replace(digest_of(table.empty.node.state, None), valid_round=2)
    for theirs, counted in ((-1, -1), (1, 1), (2, 3), (3, 3), (4, 4)):
        digest = msgspec.structs.replace(ours, valid_round=theirs)
        assert expected(work, digest, ours).valid_round == counted


def test_without_an_old_note_all_is_on_its_way(table: Table) -> None:
    work = table.full.node.work
    assert work is not None
    digest = digest_of(table.empty.node.state, table.empty.node.work)
    assert lacking(work, expected(work, digest, None)) == []
    assert lacking(work, expected(work, digest, digest_of(table.full.node.state, work))) == table.reply()


def test_notes_are_of_one_height_and_few() -> None:
    settled, digest = Settled(100), digest_of(World((10, 10, 10, 10)).state, None)
    for now_ms in range(0, 1_000, 5):
        settled.note(msgspec.structs.replace(digest, valid_round=now_ms), now_ms)
        held = settled.held(1, now_ms)
        assert held is None if now_ms < 100 else now_ms - 125 <= held.valid_round <= now_ms - 100
        assert len(settled._notes) <= NOTES_PER_FLIGHT + 2
    assert settled.held(2, 1_000) is None
    settled.note(msgspec.structs.replace(digest, height=2), 1_000)
    assert settled.held(1, 2_000) is None
    assert settled.held(2, 1_100) is not None


def test_a_peer_that_has_just_connected_gets_our_words_and_no_answer_to_its_first_digest(
    table: Table,
) -> None:
    full, digest = table.full, digest_of(table.empty.node.state, table.empty.node.work)
    table.let_settle()
    peer = full.others[2]
    full.step(PeerDisconnected(peer))
    effects = full.step(PeerConnected(peer, None))
    words = full.node.hand.words(1, 0)
    assert [message for message in of_agreement(effects) if message in words] == [*words]
    assert of_agreement(full.hear(digest, peer)) == []
    full.wait(FLIGHT_MS)
    assert of_agreement(full.hear(digest, peer)) != []


def test_a_digest_without_its_own_round_or_with_a_bad_bitmap_costs_its_sender(table: Table) -> None:
    work = table.full.node.work
    assert work is not None
    digest = digest_of(table.empty.node.state, table.empty.node.work)
    for bad in (
        msgspec.structs.replace(digest, round=5),
        msgspec.structs.replace(digest, updates=b""),
        msgspec.structs.replace(digest, avails=b"\xff\xff"),
    ):
        with pytest.raises(MalformedMessage):
            lacking(work, bad)


def test_one_digest_is_answered_with_a_bounded_number_of_messages(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert REPLY_MESSAGES_MAX == 256
    monkeypatch.setattr("p2pfed.node.digesting.REPLY_MESSAGES_MAX", 2)
    assert len(table.reply()) == 2


def test_a_peer_a_block_behind_is_given_the_certificate() -> None:
    world = World((10, 10, 10, 10))
    genesis = world.state
    behind = Lab(world=world, state=genesis)
    behind.start()
    digest = digest_of(genesis, behind.node.work)
    block = world.advance()
    ahead = Lab(1, world=world)
    ahead.start()
    effects = ahead.hear(digest)
    assert sent_by(effects, CommitCert) == [block.commit]
    assert [found.height for found in sent_by(effects, Digest)] == [2]


def test_a_peer_that_is_about_to_have_our_block_is_not_told_of_it() -> None:
    world = World((10, 10, 10, 10))
    repair_of = Lab(world=world)
    repair_of.start()
    digest = digest_of(world.state, repair_of.node.work)
    block = world.advance()
    ahead = Lab(1, world=world)
    ahead.start()
    ahead.node._repair.decided(ahead.now_ms)
    ahead.wait(FLIGHT_MS - 1)
    assert ahead.hear(digest) == []
    ahead.wait(1)
    assert sent_by(ahead.hear(digest), CommitCert) == [block.commit]


def test_a_peer_that_catches_up_claims_to_hold_nothing() -> None:
    world = World((10, 10, 10, 10))
    digest = digest_of(world.state, None)
    assert (digest.height, digest.round, digest.valid_round, digest.rounds) == (1, 0, -1, ())
    assert not any(digest.avails)
    assert not any(digest.updates)


def test_what_we_hold_ourselves_is_in_our_digest() -> None:
    lab = Lab()
    lab.start()
    update = lab.world.update(0)
    lab.step(Trained(0, update.payload_root, update.payload_bytes, update.examples))
    digest = digest_of(lab.node.state, lab.node.work)
    own = lab.world.publics.index(lab.key.public)
    assert indices_of(digest.updates, 4) == (own,)
    assert not any(digest.avails)
    (header,) = lab.node.work.pool.known.values()  # type: ignore[union-attr]
    lab.step(PayloadFetched(header.update_id, is_valid=True))
    lab.wait(2_000, Timer("collect", 1, 0))
    assert len(indices_of(digest_of(lab.node.state, lab.node.work).avails, 4)) == 1


def test_a_peer_in_an_older_round_is_given_the_votes_that_lift_it(table: Table) -> None:
    world = table.full.world
    votes = [world.sign(Prevote(1, 5, None, -1, place, bytes(64)), world.key(place)) for place in range(2)]
    for vote in votes:
        table.full.hear(vote)
    assert set(votes) <= set(table.reply())
    for vote in votes:
        table.empty.hear(vote)
    assert not set(votes) & set(table.reply())


def test_whoever_knows_that_a_height_is_decided_says_so_though_the_block_is_not_here(table: Table) -> None:
    proposal = table.said["proposal"]
    assert isinstance(proposal, ProposalMessage)
    commit = table.full.world.certify(proposal.header)
    assert commit not in table.reply()
    table.full.hear(commit)
    assert commit in table.reply()


def test_a_polka_is_given_to_a_peer_whose_valid_round_is_lower(table: Table) -> None:
    world, proposal = table.full.world, table.said["proposal"]
    assert isinstance(proposal, ProposalMessage)
    value_id = proposal.header.value_id
    for place in range(4):
        table.full.hear(world.avail(place, world.updates()))
        table.full.hear(world.sign(Prevote(1, 0, value_id, -1, place, bytes(64)), world.key(place)))
    header, body, after = world.build()
    assert header.value_id == value_id
    table.full.step(BodyFetched(header, body))
    for update in body.updates:
        table.full.step(PayloadFetched(update.update_id, is_valid=True))
    table.full.step(ProposalChecked(value_id, after, ""))
    assert [cert.value_id for cert in table.reply() if isinstance(cert, PolkaCert)] == [value_id]
