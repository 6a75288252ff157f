"""Relations to other peers: who is heard, who is told, who is blamed."""

from __future__ import annotations

from support.chain import World
from support.lab import Lab, sent_by

from p2pfed.errors import BadSignature, MalformedMessage, OutOfBounds
from p2pfed.gossip.limits import BURST_SECONDS, MESSAGES_PER_SECOND_MAX
from p2pfed.gossip.mesh import MESH_DEGREE
from p2pfed.node import events
from p2pfed.node.effects import Blame, Dial, Disconnect, Effect, RememberPeers, Send
from p2pfed.node.facts import PeerBlamed, PeerJoined, PeerLeft
from p2pfed.node.neighbours import DIRECT_MEMBERS_MAX
from p2pfed.primitives.keys import PrivateKey
from p2pfed.types.address import Multiaddr
from p2pfed.types.availability import AvailMessage
from p2pfed.types.certificate import PolkaCert
from p2pfed.types.update import UpdateHeader
from p2pfed.types.validators import validator_set
from p2pfed.types.vote import Prevote
from p2pfed.types.wire import Digest, PeerRecords


def of(effects: list[Effect], kind: type) -> list:
    return [effect for effect in effects if isinstance(effect, kind)]


def test_the_reachable_power_counts_pipes_and_ourselves() -> None:
    lab = Lab(bonds=(10, 20, 30, 40))
    own = lab.node.neighbours.connected_power
    lab.start(connected=2)
    joined = lab.facts(PeerJoined)
    assert len(joined) == 2
    bonds = {validator.key: validator.power for validator in lab.world.state.validators.validators}
    assert own == bonds[lab.key.public]
    assert joined[-1].connected_power == own + sum(bonds[key] for key in lab.others[:2])
    assert joined[-1].total_power == 100
    lab.step(events.PeerDisconnected(lab.others[0]))
    assert lab.facts(PeerLeft)[0].connected_power == own + bonds[lab.others[1]]


def test_a_peer_that_was_never_welcome_does_not_leave() -> None:
    lab = Lab()
    lab.start(connected=0)
    assert lab.step(events.PeerDisconnected(lab.others[0])) == []
    assert lab.facts(PeerLeft) == []


def test_a_new_pipe_is_greeted_with_records_and_a_digest() -> None:
    lab = Lab()
    lab.start(connected=0)
    lab.step(events.AddressesChanged((Multiaddr("10.0.0.1", 7400, None),)))
    effects = lab.step(events.PeerConnected(lab.others[0], None))
    (records,) = sent_by(effects, PeerRecords)
    assert [record.key for record in records.records] == [lab.key.public]
    assert len(sent_by(effects, Digest)) == 1


def test_nobody_without_a_pipe_is_heard() -> None:
    lab = Lab()
    lab.start(connected=1)
    stranger = lab.others[1]
    assert lab.hear(lab.world.update(1), stranger) == []


def test_whoever_sends_too_much_is_blamed_and_not_heard() -> None:
    lab = Lab()
    lab.start(connected=1)
    digest = Lab(1, world=lab.world).start(connected=1)
    message = sent_by(digest, Digest)[0]
    for _ in range(MESSAGES_PER_SECOND_MAX * BURST_SECONDS):
        lab.hear(message)
    assert lab.all_of(Blame) == []
    lab.hear(message)
    assert [effect.peer for effect in lab.all_of(Blame)] == [lab.others[0]]


def test_an_empty_score_closes_the_pipe_and_the_ban_is_kept() -> None:
    lab = Lab()
    lab.start()
    peer = lab.others[0]
    for _ in range(2):
        lab.step(events.PeerMisbehaved(peer, OutOfBounds("too large")))
    assert lab.all_of(Disconnect) == []
    effects = lab.step(events.PeerMisbehaved(peer, BadSignature("forged")))
    assert [effect.peer for effect in of(effects, Disconnect)] == [peer]
    assert [fact.peer for fact in lab.facts(PeerBlamed)] == [peer]
    lab.step(events.PeerDisconnected(peer))
    again = lab.step(events.PeerConnected(peer, None))
    assert "banned" in of(again, Disconnect)[0].reason
    assert not sent_by(again, Digest)
    lab.now_ms += 5_000
    assert sent_by(lab.step(events.PeerConnected(peer, None)), Digest)


def test_a_message_that_is_none_costs_the_whole_score() -> None:
    lab = Lab()
    lab.start()
    effects = lab.step(events.PeerMisbehaved(lab.others[0], MalformedMessage("not canonical")))
    assert of(effects, Disconnect)


def test_where_all_are_connected_an_update_is_not_passed_on() -> None:
    lab = Lab()
    lab.start()
    assert sent_by(lab.hear(lab.world.update(1)), UpdateHeader) == []


def test_where_some_are_missing_a_message_is_passed_on_once_and_not_back() -> None:
    lab = Lab()
    lab.start(connected=2)
    update = lab.world.update(1)
    effects = [effect for effect in of(lab.hear(update), Send) if isinstance(effect.message, UpdateHeader)]
    assert [effect.peers for effect in effects] == [(lab.others[1],)]
    assert sent_by(lab.hear(update), UpdateHeader) == []
    assert sent_by(lab.hear(update, lab.others[1]), UpdateHeader) == []


def test_a_vote_that_comes_over_two_pipes_is_passed_on_once() -> None:
    lab = Lab()
    lab.start(connected=2)
    place = next(place for place in range(4) if lab.world.key(place).public != lab.key.public)
    vote = lab.world.sign(Prevote(1, 0, None, -1, place, bytes(64)), lab.world.key(place))
    assert sent_by(lab.hear(vote), Prevote) == [vote]
    assert sent_by(lab.hear(vote), Prevote) == []
    assert sent_by(lab.hear(vote, lab.others[1]), Prevote) == []


def test_a_network_that_is_not_large_is_pushed_to_directly_and_nothing_is_passed_on() -> None:
    count = DIRECT_MEMBERS_MAX + 1
    lab = Lab(bonds=(10,) * count)
    lab.start(connected=count - 1)
    assert sent_by(lab.hear(lab.world.update(1)), UpdateHeader) == []
    lab.node.neighbours.push(lab.world.update(2))
    (effect,) = of(lab.node.neighbours._outbox, Send)
    assert len(effect.peers) == count - 1
    lab.node.neighbours._outbox.clear()
    assert Lab(bonds=(10,) * (count + 1)).node.neighbours.table.mesh_degree == MESH_DEGREE


def test_a_network_larger_than_the_mesh_passes_messages_on_though_all_are_connected() -> None:
    lab = Lab(bonds=(10,) * (MESH_DEGREE + 2))
    lab.node.neighbours.table.mesh_degree = MESH_DEGREE
    lab.start(connected=MESH_DEGREE + 1)
    (effect,) = (
        effect
        for effect in of(lab.hear(lab.world.update(1)), Send)
        if isinstance(effect.message, UpdateHeader)
    )
    assert len(effect.peers) in (MESH_DEGREE - 1, MESH_DEGREE)
    assert lab.others[0] not in effect.peers


def test_an_observer_passes_on_what_is_rare_and_nothing_else() -> None:
    lab = Lab(key=PrivateKey(b"\x56" * 32))
    lab.start(connected=3)
    world, place = lab.world, 0
    assert sent_by(lab.hear(world.update(1)), UpdateHeader) == []
    vote = world.sign(Prevote(1, 0, None, -1, place, bytes(64)), world.key(place))
    assert sent_by(lab.hear(vote), Prevote) == []
    transfer = world.transfer(1, 2, 5, 1, 0)
    (effect,) = of(lab.hear(transfer), Send)
    assert effect.message == transfer
    assert effect.peers == tuple(lab.others[1:3])


def test_what_everybody_makes_or_passes_on_goes_to_a_few_though_pushes_go_to_all() -> None:
    count = MESH_DEGREE + 4
    lab = Lab(bonds=(10,) * count)
    lab.start(connected=count - 1)
    neighbours, world = lab.node.neighbours, lab.world
    header, _, _ = world.build()
    polka = PolkaCert(1, 0, header.value_id, -1, b"\x00\x00", ())
    for message, targets in (
        (polka, MESH_DEGREE), (world.certify(header), MESH_DEGREE), (world.update(1), count - 1),
    ):  # fmt: skip
        neighbours._outbox.clear()
        neighbours.push(message)
        (effect,) = of(neighbours._outbox, Send)
        assert len(effect.peers) == targets, message
    neighbours._outbox.clear()
    source = neighbours.table.few_targets()[0]
    neighbours.forward(source, world.all_evidence(1)[0], b"its id")
    (effect,) = of(neighbours._outbox, Send)
    assert len(effect.peers) == MESH_DEGREE - 1
    assert source not in effect.peers
    neighbours._outbox.clear()


def test_evidence_is_passed_on_though_all_are_connected() -> None:
    lab = Lab()
    lab.start()
    evidence = lab.world.double_vote(3)
    effects = of(lab.hear(evidence), Send)
    assert [effect.peers for effect in effects] == [tuple(lab.others[1:])]


def test_what_is_news_is_remembered_and_dialled() -> None:
    lab, other = Lab(), Lab(1)
    lab.start(connected=0)
    other.start(connected=0)
    address = Multiaddr("10.0.0.2", 7400, None)
    other.step(events.AddressesChanged((address,)))
    message = sent_by(other.step(events.PeerConnected(lab.key.public, None)), PeerRecords)[0]
    third = next(key for key in lab.others if key != other.key.public)
    lab.step(events.PeerConnected(third, None))
    effects = lab.hear(message, third)
    assert [effect.records for effect in of(effects, RememberPeers)] == [message.records]
    lab.now_ms += 1_000
    dialled = [*of(effects, Dial), *of(lab.gossip(), Dial)]
    assert [str(address) for effect in dialled for address in effect.addresses] == [
        str(Multiaddr("10.0.0.2", 7400, other.key.public))
    ]


def test_a_damaged_line_of_the_peer_file_costs_nothing_else() -> None:
    other = Lab(1)
    other.step(events.AddressesChanged((Multiaddr("10.0.0.2", 7400, None),)))
    (record,) = sent_by(other.step(events.PeerConnected(other.others[0], None)), PeerRecords)[0].records
    bad = type(record)(record.key, record.sequence + 1, record.addresses, bytes(64))
    lab = Lab(records=(bad, record))
    lab.start(connected=0)
    assert lab.node.neighbours.table.known() == (record,)


def test_the_first_contacts_are_dialled_at_once() -> None:
    contact = Multiaddr("10.0.0.9", 7400, None)
    lab = Lab(contacts=(contact,))
    assert of(lab.step(events.Started()), Dial) == [Dial((contact,))]
    lab.step(events.DialFailed((contact,)))
    lab.now_ms += 500
    assert of(lab.gossip(), Dial) == [Dial((contact,))]


def test_our_own_words_go_to_everybody() -> None:
    lab = Lab()
    lab.start()
    effects = lab.wait(2_000, events.Timer("collect", 1, 0)) + lab.wait(60_000, events.Timer("collect", 1, 0))
    sends = [effect for effect in of(effects, Send) if isinstance(effect.message, AvailMessage)]
    assert [effect.peers for effect in sends] == [tuple(lab.others)]


def test_who_joins_the_validators_is_a_member_from_then_on() -> None:
    world = World((10, 10, 10, 10))
    stranger, own = PrivateKey(b"\x55" * 32), PrivateKey(b"\x56" * 32)
    lab = Lab(world=world, key=own)
    lab.start()
    lab.step(events.PeerConnected(stranger.public, None))
    table = lab.node.neighbours.table
    assert not table.is_member(stranger.public)
    assert not table.is_member(own.public)
    before = lab.node.neighbours.connected_power
    powers = {validator.key: validator.power for validator in world.state.validators.validators}
    wider = validator_set((powers | {stranger.public: 5, own.public: 7}).items())
    lab.node.neighbours.set_validators(world.state.validators, wider)
    assert table.is_member(stranger.public)
    assert table.is_member(own.public)
    assert lab.node.neighbours.connected_power == before
    lab.node.neighbours.set_validators(wider, wider)
    assert lab.node.neighbours.connected_power == before + 12
    assert stranger.public in lab.node.neighbours.awaited()


def test_a_peer_that_exchanges_no_addresses_dials_its_contacts_alone() -> None:
    told = Lab(own=1)
    told.start(connected=0)
    told.step(events.AddressesChanged((Multiaddr("10.0.0.2", 7400, None),)))
    (records,) = sent_by(told.step(events.PeerConnected(told.others[0], None)), PeerRecords)
    contact = Multiaddr("10.0.0.9", 7400, Lab(own=2).key.public)
    lab = Lab(is_exchanging=False, contacts=(contact,), records=records.records)
    effects = lab.step(events.Started())
    effects += lab.step(events.AddressesChanged((Multiaddr("10.0.0.1", 7400, None),)))
    effects += lab.step(events.PeerConnected(told.key.public, None))
    effects += lab.hear(records, told.key.public)
    for _ in range(40):  # Past the time at which everything is told again.
        effects += lab.gossip()
    assert sent_by(effects, PeerRecords) == []
    assert of(effects, RememberPeers) == []
    assert {effect.addresses for effect in of(effects, Dial)} == {(contact,)}
    assert lab.all_of(Blame) == []
