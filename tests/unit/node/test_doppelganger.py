"""R6: a peer whose blocks are above its record listens before it speaks, and stops where its key is heard."""

from __future__ import annotations

import msgspec
import pytest
from support.chain import World
from support.lab import FOUR, Lab

from p2pfed.consensus.machine import Step
from p2pfed.consensus.signer import SignRecord, initial_record
from p2pfed.node import events
from p2pfed.node.effects import Halt, Persist, ScheduleTimeout, Train
from p2pfed.node.events import Timer
from p2pfed.node.facts import CollectEnded, HeightStarted, Listening
from p2pfed.types.proposal import Proposal
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import LISTENS, Digest, ProposalMessage

LISTEN_MS = 2_000  # Twice the propose timeout of `local`.
LISTEN = Timer("listen", 0, 0)


@pytest.fixture
def world() -> World:
    world = World(FOUR)
    world.advance()
    world.advance()
    return world


def record_of(height: int, round_: int = 0, step: int = 3) -> SignRecord:
    return msgspec.structs.replace(initial_record(), height=height, round=round_, step=step)


def lab_of(world: World, record: SignRecord) -> Lab:
    return Lab(world=world, record=record)


def index_of(lab: Lab) -> int:
    found = lab.world.state.validators.index_of(lab.key.public)
    assert found is not None
    return found


def signed(lab: Lab, message):
    return msgspec.structs.replace(
        message, signature=lab.key.sign(message.digest(lab.world.genesis.chain_id))
    )


def test_a_record_at_the_newest_block_needs_no_listening(world: World) -> None:
    lab = lab_of(world, record_of(2))
    lab.start()
    assert not lab.node.twin.is_listening
    assert [fact.height for fact in lab.facts(HeightStarted)] == [3]


def test_below_it_nothing_is_signed_until_the_time_with_a_peer_is_over(world: World) -> None:
    lab = lab_of(world, record_of(1))
    lab.step(events.Started())
    lab.wait(60_000)  # Alone it hears nothing, so that does not count.
    lab.step(events.PeerConnected(lab.others[0], None))
    assert [fact.wait_ms for fact in lab.facts(Listening)] == [LISTEN_MS]
    assert [e.delay_ms for e in lab.all_of(ScheduleTimeout) if e.timer == LISTEN] == [LISTEN_MS]
    lab.wait(LISTEN_MS - 1, LISTEN)
    assert lab.node.twin.is_listening
    assert lab.all_of(Persist) == lab.all_of(Train) == lab.facts(HeightStarted) == []
    lab.wait(1, LISTEN)
    assert not lab.node.twin.is_listening
    assert [fact.height for fact in lab.facts(HeightStarted)] == [3]
    assert lab.all_of(Train)


def test_time_without_a_peer_stops_the_clock_and_does_not_start_it_anew(world: World) -> None:
    lab = lab_of(world, record_of(1))
    lab.step(events.Started())
    peer = lab.others[0]
    lab.step(events.PeerConnected(peer, None))
    lab.wait(1_500)
    lab.step(events.PeerDisconnected(peer))
    lab.wait(5_000, LISTEN)
    assert lab.node.twin.is_listening
    lab.step(events.PeerConnected(peer, None))
    lab.wait(500, LISTEN)
    assert not lab.node.twin.is_listening


@pytest.mark.parametrize("kind", ["proposal", "prevote", "precommit"])
def test_a_word_of_the_own_key_above_the_record_stops_the_peer(world: World, kind: str) -> None:
    lab = Lab(world=world, key=world.keys[world.proposer()], record=record_of(1))
    lab.start()
    index, (header, _, _) = index_of(lab), world.build()
    lab.hear(
        {
            "proposal": ProposalMessage(
                signed(lab, Proposal(3, 0, header.value_id, -1, index, bytes(64))), header, None
            ),
            "prevote": signed(lab, Prevote(3, 0, None, -1, index, bytes(64))),
            "precommit": signed(lab, Precommit(3, 0, None, index, bytes(64))),
        }[kind]
    )
    (halt,) = lab.all_of(Halt)
    assert halt.exit_code == 3
    place = "vote_state.json ends at the precommit of height 1, round 0"
    assert f"the network has its {kind} of height 3, round 0, {place}" in halt.reason


def test_what_proves_nothing_stops_nobody(world: World) -> None:
    """Own words of the record's place or below, other keys, a forged signature, a height nobody can judge."""
    lab = lab_of(world, record_of(1, round_=4, step=2))
    lab.start()
    index = index_of(lab)
    other = next(i for i in range(4) if i != index)
    own = signed(lab, Prevote(1, 4, None, -1, index, bytes(64)))
    forged = Prevote(3, 0, None, -1, index, bytes(64))
    foreign = signed(lab, Prevote(3, 0, None, -1, other, bytes(64)))
    far = signed(lab, Prevote(9, 0, None, -1, index, bytes(64)))
    for message in (own, forged, foreign, far, world.update(index)):
        lab.hear(message)
    assert lab.all_of(Halt) == []


def test_who_can_decide_alone_waits_for_nobody() -> None:
    """There may be no peer to listen to; and an observer says nothing anyway."""
    world = World((40, 1, 1, 1))
    world.advance()
    strong = next(i for i, one in enumerate(world.state.validators.validators) if one.power == 40)
    lab = Lab(
        world=world, key=world.keys[world.state.validators.validators[strong].key], record=initial_record()
    )
    lab.step(events.Started())
    assert lab.facts(HeightStarted)
    stranger = World((10,) * 6)
    key = next(key for public, key in stranger.keys.items() if public not in world.publics)
    assert not Lab(world=world, key=key, record=initial_record()).node.twin.is_listening


def test_it_says_that_it_listens_until_it_works(world: World) -> None:
    lab = lab_of(world, record_of(1))
    lab.step(events.Started())
    lab.step(events.PeerConnected(lab.others[0], None))
    assert [digest.step for digest in lab.sent(Digest)] == [LISTENS]
    lab.gossip()
    assert lab.sent(Digest)[-1].step == LISTENS
    lab.wait(LISTEN_MS - 500, LISTEN)
    assert lab.sent(Digest)[-1].step == Step.COLLECT  # At once, so that it is waited for again.
    busy = lab_of(world, record_of(2))
    busy.start()
    assert LISTENS not in [digest.step for digest in busy.sent(Digest)]


def test_a_height_does_not_wait_for_the_update_of_who_says_that_it_listens() -> None:
    lab = Lab()
    lab.start()
    silent, *speaking = lab.others
    nothing = Digest(1, 0, LISTENS, -1, -1, (), bytes(1), bytes(1))
    lab.hear(nothing, silent)
    assert lab.node.work is not None
    assert lab.node.work.collecting.awaited() == {*speaking, lab.key.public}
    lab.hear(msgspec.structs.replace(nothing, step=0), silent)
    assert lab.node.work.collecting.awaited() == {*lab.world.publics}
    for header in lab.world.updates():
        if header.trainer != silent:
            lab.hear(header, header.trainer if header.trainer in speaking else None)
            lab.step(events.PayloadFetched(header.update_id, is_valid=True))
    assert lab.facts(CollectEnded) == []
    lab.hear(nothing, silent)
    assert [(fact.held, fact.reason) for fact in lab.facts(CollectEnded)] == [(3, "all")]
    lab.step(events.PeerDisconnected(silent))
    assert not lab.node._shared.listening
