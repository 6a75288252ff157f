"""The table learns every member, dials it for ever, never beside an open pipe, and bounds everyone else."""

from __future__ import annotations

from itertools import pairwise

import pytest

from p2pfed.errors import BadSignature, MalformedMessage, OutOfBounds
from p2pfed.gossip import peers
from p2pfed.gossip.dialling import (
    BACKOFF_MAX_MS,
    DIAL_DEADLINE_MS,
    DIALS_AT_ONCE_MAX,
    HEAD_START_MS,
    PIPE_STABLE_MS,
    PORTION_MS,
    backoff_ms,
)
from p2pfed.gossip.mesh import MESH_DEGREE
from p2pfed.gossip.peers import (
    OBSERVER_PIPES,
    OBSERVER_PORTION_MS,
    OBSERVERS_MAX,
    RECORD_INTERVAL_MS,
    STRANGERS_KNOWN_MAX,
    PeerTable,
)
from p2pfed.gossip.standing import BAN_FIRST_MS, BAN_MAX_MS
from p2pfed.primitives.keys import PrivateKey
from p2pfed.types.address import Multiaddr
from p2pfed.types.params import PEER_RECORDS_PER_MESSAGE_MAX


@pytest.fixture
def table(keys) -> PeerTable:
    """Return the table of keys[2] in a network of keys[:5]; keys[5] is no member."""
    return PeerTable(keys[2].public, member_keys=[key.public for key in keys[:5]])


def _strangers(count: int) -> list[bytes]:
    return [b"\x09" + number.to_bytes(32, "big") for number in range(count)]


def _dialled(table: PeerTable, now_ms: int) -> list[bytes | None]:
    return [addresses[0].public for addresses in table.due_dials(now_ms)]


# Records


def test_a_new_record_is_news_once(table, keys, make_record, chain_id) -> None:
    record = make_record(keys[0], 1)
    assert table.learn(record, chain_id)
    assert not table.learn(record, chain_id)
    assert table.known() == (record,)


def test_the_larger_sequence_wins(table, keys, make_record, chain_id) -> None:
    old, new = make_record(keys[0], 1), make_record(keys[0], 2, port=7500)
    assert table.learn(new, chain_id)
    assert not table.learn(old, chain_id)
    assert table.known() == (new,)


def test_a_forged_record_is_a_fault_and_changes_nothing(table, keys, make_record, chain_id) -> None:
    table.learn(make_record(keys[0], 1), chain_id)
    with pytest.raises(BadSignature):
        table.learn(make_record(keys[0], 2, chain_id=bytes(32)), chain_id)
    with pytest.raises(OutOfBounds):
        table.learn(make_record(keys[0], 3, addresses=("/ip4/1.2.3.4/tcp/1",)), chain_id)
    assert table.known() == (make_record(keys[0], 1),)


def test_the_record_of_an_observer_is_not_kept_and_not_dialled(table, keys, make_record, chain_id) -> None:
    assert not table.learn(make_record(keys[5], 1), chain_id)
    assert table.known() == ()
    assert table.next_due_ms(0) is None


def test_an_older_record_of_our_own_does_not_set_the_sequence_back(
    table, keys, make_record, chain_id
) -> None:
    for sequence in (9, 3):
        assert not table.learn(make_record(keys[2], sequence), chain_id)
    assert table.next_sequence(0) == 10


def test_the_record_of_a_stranger_that_we_know_is_not_kept_either(table, keys, make_record, chain_id) -> None:
    table.penalise(keys[5].public, BadSignature("x"), 0)
    assert not table.learn(make_record(keys[5], 1), chain_id)
    assert table.known() == ()


def test_our_own_record_coming_back_is_no_fault(table, keys, make_record, chain_id) -> None:
    assert not table.learn(make_record(keys[2], 1), chain_id)
    assert table.known() == ()


def test_a_clock_that_was_ahead_does_not_silence_our_next_record(table, keys, make_record, chain_id) -> None:
    assert table.next_sequence(500) == 500
    table.learn(make_record(keys[2], 9000), chain_id)
    assert table.next_sequence(500) == 9001
    with pytest.raises(BadSignature):
        table.learn(make_record(keys[2], 10**9, chain_id=bytes(32)), chain_id)
    assert table.next_sequence(500) == 9001
    table.set_own(make_record(keys[2], 9001))
    assert table.next_sequence(500) == 9002


def test_a_member_that_signs_without_end_is_forwarded_once_a_second(
    table, keys, make_record, chain_id
) -> None:
    def learn(sequence: int, now_ms: int) -> bool:
        return table.learn(make_record(keys[0], sequence), chain_id, source=keys[1].public, now_ms=now_ms)

    assert learn(1, 10**6)
    assert not learn(2, 10**6 + RECORD_INTERVAL_MS - 1)
    assert learn(3, 10**6 + RECORD_INTERVAL_MS)


# What others are told


def test_a_new_pipe_is_told_everything_our_own_record_first(table, keys, make_record, chain_id) -> None:
    for place in (4, 0, 3):
        table.learn(make_record(keys[place]), chain_id)
    table.set_own(make_record(keys[2]))
    table.connected(keys[1].public, 0)
    (message,) = table.records_for(keys[1].public)
    assert [record.key for record in message.records] == [keys[place].public for place in (2, 0, 3, 4)]


def test_a_peer_is_told_neither_its_own_record_nor_what_it_told_us(
    table, keys, make_record, chain_id
) -> None:
    peer = keys[1].public
    table.connected(peer, 0)
    table.learn(make_record(keys[1]), chain_id, source=peer)
    table.learn(make_record(keys[3]), chain_id, source=peer)
    assert table.records_for(peer) == ()
    table.learn(make_record(keys[1], 2), chain_id, source=keys[0].public, now_ms=RECORD_INTERVAL_MS)
    assert table.records_for(peer) == ()
    table.learn(make_record(keys[4]), chain_id, source=keys[0].public)
    (message,) = table.news_for(peer)
    assert [record.key for record in message.records] == [keys[4].public]


def test_news_are_told_once_and_all_again_on_request_or_a_new_pipe(
    table, keys, make_record, chain_id
) -> None:
    peer = keys[1].public
    table.connected(peer, 0)
    table.learn(make_record(keys[0]), chain_id)
    assert len(table.news_for(peer)) == 1
    assert table.news_for(peer) == ()
    assert len(table.records_for(peer)) == 1
    table.disconnected(peer, 1)
    assert table.news_for(peer) == ()
    table.connected(peer, 2)
    assert len(table.news_for(peer)) == 1


def test_a_newer_own_record_is_news(table, keys, make_record) -> None:
    peer = keys[1].public
    table.connected(peer, 0)
    table.set_own(make_record(keys[2], 1))
    assert len(table.news_for(peer)) == 1
    table.set_own(make_record(keys[2], 2))
    assert table.news_for(peer)[0].records == (make_record(keys[2], 2),)


def test_many_records_travel_in_portions(make_record, chain_id) -> None:
    count = PEER_RECORDS_PER_MESSAGE_MAX + 3
    members = [PrivateKey((number + 1).to_bytes(32, "big")) for number in range(count + 2)]
    table = PeerTable(members[0].public, member_keys=[key.public for key in members])
    for key in members[2:]:
        assert table.learn(make_record(key), chain_id)
    table.connected(members[1].public, 0)
    messages = table.records_for(members[1].public)
    assert [len(message.records) for message in messages] == [PEER_RECORDS_PER_MESSAGE_MAX, 3]


# Dialling


def test_the_smaller_key_dials_at_once_and_the_larger_a_little_later(
    table, keys, make_record, chain_id
) -> None:
    for key in (keys[0], keys[4]):
        table.learn(make_record(key), chain_id, now_ms=1000)
    assert table.next_due_ms(1000) == 1000
    assert _dialled(table, 1000) == [keys[4].public]
    assert _dialled(table, 1000 + HEAD_START_MS - 1) == []
    assert _dialled(table, 1000 + HEAD_START_MS) == [keys[0].public]


def test_nobody_is_dialled_beside_an_open_pipe(table, keys, make_record, chain_id) -> None:
    table.learn(make_record(keys[4]), chain_id)
    table.add_address(Multiaddr("10.0.0.9", 7400, keys[4].public))
    table.connected(keys[4].public, 0)
    assert table.due_dials(10**9) == ()
    assert table.next_due_ms(0) is None


def test_a_dead_member_is_dialled_for_ever_but_rarely(table, keys, make_record, chain_id) -> None:
    table.learn(make_record(keys[4]), chain_id)
    now_ms, times = 0, []
    while now_ms < 3_600_000:
        (addresses,) = table.due_dials(now_ms)
        times.append(now_ms)
        table.dial_failed(addresses, now_ms + 1)
        due_ms = table.next_due_ms(now_ms)
        assert due_ms is not None
        assert table.due_dials(due_ms - 1) == ()
        now_ms = due_ms
    assert times[1] < 600
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert BACKOFF_MAX_MS // 2 <= min(gaps[-20:]) <= max(gaps) <= BACKOFF_MAX_MS + 1


def test_a_dial_nobody_reports_on_is_not_repeated_meanwhile(table, keys, make_record, chain_id) -> None:
    table.learn(make_record(keys[4]), chain_id)
    assert len(table.due_dials(0)) == 1
    assert table.due_dials(DIAL_DEADLINE_MS - 1) == ()
    assert len(table.due_dials(DIAL_DEADLINE_MS)) == 1


def test_a_lost_stable_pipe_is_dialled_again_at_once(table, keys, make_record, chain_id) -> None:
    table.learn(make_record(keys[4]), chain_id)
    for now_ms in (0, 10_000, 20_000, 60_000):
        table.due_dials(now_ms)
    table.connected(keys[4].public, 60_001)
    table.disconnected(keys[4].public, 60_001 + PIPE_STABLE_MS)
    assert table.next_due_ms(0) == 60_001 + PIPE_STABLE_MS


def test_a_peer_that_closes_at_once_is_not_hammered(table, keys, make_record, chain_id) -> None:
    table.learn(make_record(keys[4]), chain_id)
    now_ms, dials = 0, 0
    while now_ms < 600_000:
        dials += len(table.due_dials(now_ms))
        table.connected(keys[4].public, now_ms)
        table.disconnected(keys[4].public, now_ms + 1)
        due_ms = table.next_due_ms(now_ms)
        assert due_ms is not None
        now_ms = due_ms
    assert dials < 60


def test_new_addresses_are_tried_at_once(table, keys, make_record, chain_id) -> None:
    table.learn(make_record(keys[4], 1), chain_id)
    for now_ms in (0, 10_000, 20_000):
        table.due_dials(now_ms)
    table.learn(make_record(keys[4], 2, port=7500), chain_id, now_ms=20_001)
    ((address,),) = table.due_dials(20_001)
    assert address.port == 7500


def test_an_unchanged_address_under_a_new_sequence_resets_no_backoff(
    table, keys, make_record, chain_id
) -> None:
    table.learn(make_record(keys[4], 1), chain_id)
    table.due_dials(0)
    table.learn(make_record(keys[4], 2), chain_id, now_ms=2000)
    assert table.due_dials(2000) == ()


def test_a_large_network_is_dialled_in_portions(make_record, chain_id) -> None:
    members = sorted(
        (PrivateKey((number + 1).to_bytes(32, "big")) for number in range(DIALS_AT_ONCE_MAX + 6)),
        key=lambda key: key.public,
    )
    table = PeerTable(members[0].public, member_keys=[key.public for key in members])
    for key in members[1:]:
        table.learn(make_record(key), chain_id)
    assert len(table.due_dials(0)) == DIALS_AT_ONCE_MAX
    assert table.due_dials(PORTION_MS - 1) == ()
    assert len(table.due_dials(PORTION_MS)) == 5


# First contacts


def test_a_first_contact_without_a_key_is_dialled_until_its_key_is_known(table, keys) -> None:
    address = Multiaddr("seed.example", 7400)
    table.add_address(address, 5)
    assert table.due_dials(5) == ((address,),)
    table.dial_failed((address,), 6)
    assert 6 < (table.next_due_ms(6) or 0) < 600
    table.connected(keys[0].public, 700, address)
    assert table.next_due_ms(700) is None
    table.disconnected(keys[0].public, 800)
    ((named,),) = table.due_dials(10_000)
    assert named == Multiaddr("seed.example", 7400, keys[0].public)


def test_a_record_names_a_first_contact_too(table, keys, make_record, chain_id) -> None:
    table.add_address(Multiaddr("10.0.0.1", 7400))
    table.learn(make_record(keys[4], port=7400), chain_id)
    assert _dialled(table, 0) == [keys[4].public]


def test_a_stranger_that_becomes_a_member_is_dialled_and_its_record_kept(
    table, keys, make_record, chain_id
) -> None:
    table.connected(keys[5].public, 0)
    assert table.connected_observers() == (keys[5].public,)
    newcomer = _strangers(1)[0]
    table.add_members([keys[5].public, keys[0].public, keys[2].public, newcomer])
    assert table.is_member(keys[5].public)
    assert table.is_member(newcomer)
    assert (table.connected_members(), table.connected_observers()) == ((keys[5].public,), ())
    table.disconnected(keys[5].public, 0)
    assert table.learn(make_record(keys[5]), chain_id)
    assert _dialled(table, HEAD_START_MS) == [keys[5].public]
    assert keys[2].public not in [row.key for row in table.rows(0)]  # Nobody is a peer of its own.
    observer = PeerTable(keys[5].public, member_keys=[keys[0].public])
    assert not observer.is_member(keys[5].public)
    observer.add_members([keys[5].public])
    assert observer.is_member(keys[5].public)


def test_strangers_make_room_for_each_other_but_none_that_has_a_pipe(
    table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "STRANGERS_KNOWN_MAX", 2)
    first, second, third, fourth = _strangers(4)
    slip = BadSignature("a slip")
    assert table.connected(first, 0)
    table.penalise(second, slip, 0)
    assert table.connected(third, 0)
    strangers = [row.key for row in table.rows(0) if not row.is_member]
    assert strangers == [first, third]
    table.penalise(fourth, slip, 0)
    table.add_address(Multiaddr("10.0.0.1", 1, fourth))
    assert [row.key for row in table.rows(0) if not row.is_member] == strangers


def test_a_stranger_that_was_named_by_hand_is_not_forgotten_for_another(
    table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "STRANGERS_KNOWN_MAX", 2)
    first, second, third = _strangers(3)
    table.add_address(Multiaddr("10.0.0.1", 1, first))
    for stranger in (second, third):
        table.penalise(stranger, BadSignature("a slip"), 0)
    assert [row.key for row in table.rows(0) if not row.is_member] == [first, third]


def test_a_dial_that_nobody_asked_for_changes_nothing_when_it_fails(
    table, keys, make_record, chain_id
) -> None:
    record = make_record(keys[4])
    table.learn(record, chain_id)
    before = table.next_due_ms(0)
    table.dial_failed((Multiaddr("10.0.0.1", 7400, keys[4].public),), 5)
    assert table.next_due_ms(0) == before


def test_who_is_connected_is_known_and_a_dial_of_a_stranger_that_failed_is_nothing(table, keys) -> None:
    table.dial_failed((Multiaddr("10.0.0.1", 1, keys[5].public),), 5)
    table.dial_failed((Multiaddr("10.0.0.1", 1),), 5)
    table.dial_failed((), 5)
    assert table.next_due_ms(5) is None
    for place in (0, 5):
        table.disconnected(keys[place].public, 5)  # There was no pipe.
    table.connected(keys[0].public, 5)
    assert [table.is_connected(key.public) for key in keys] == [True] + 5 * [False]
    table.disconnected(keys[0].public, 6)
    assert not table.is_connected(keys[0].public)


def test_all_addresses_of_a_peer_are_dialled_once_those_by_hand_first(
    table, keys, make_record, chain_id
) -> None:
    by_hand, told, other = (Multiaddr("10.0.0.1", port, keys[4].public) for port in (1, 2, 3))
    table.add_address(by_hand)
    table.add_address(told)
    table.add_address(by_hand)
    table.learn(make_record(keys[4], addresses=(str(other), str(told))), chain_id)
    assert table.due_dials(HEAD_START_MS) == ((by_hand, told, other),)


def test_a_first_address_waits_for_the_head_start_and_a_second_one_for_the_backoff(table, keys) -> None:
    first, second = (Multiaddr("10.0.0.1", port, keys[0].public) for port in (1, 2))
    table.add_address(first, 1000)
    assert table.next_due_ms(0) == 1000 + HEAD_START_MS
    assert table.due_dials(1000 + HEAD_START_MS) == ((first,),)
    again_ms = table.next_due_ms(1000 + HEAD_START_MS)
    table.add_address(second, 1000 + HEAD_START_MS)
    assert table.next_due_ms(1000 + HEAD_START_MS) == again_ms


def test_who_has_no_pipe_is_told_nothing_and_all_of_it_once_there_is_one(
    table, keys, make_record, chain_id
) -> None:
    table.learn(make_record(keys[3]), chain_id)
    assert table.news_for(keys[0].public) == table.news_for(keys[5].public) == ()
    table.connected(keys[0].public, 5)
    assert [message.records for message in table.news_for(keys[0].public)] == [(make_record(keys[3]),)]


def test_a_pipe_that_was_not_stable_counts_as_the_attempt_that_made_it(
    table, keys, make_record, chain_id
) -> None:
    table.learn(make_record(keys[4]), chain_id)
    assert _dialled(table, 0) == [keys[4].public]
    table.connected(keys[4].public, 100)
    table.disconnected(keys[4].public, 200)
    assert table.next_due_ms(0) == 200 + backoff_ms(keys[2].public, keys[4].public, 0)


def test_members_that_are_due_are_dialled_in_order_of_their_keys(keys, make_record, chain_id) -> None:
    table = PeerTable(keys[0].public, member_keys=[key.public for key in keys])
    for key in reversed(keys[1:]):
        table.learn(make_record(key), chain_id)
    assert _dialled(table, 0) == [key.public for key in keys[1:]]


def test_first_contacts_rest_while_every_member_is_known(table, keys, make_record, chain_id) -> None:
    seed, stranger = Multiaddr("seed.example", 7400), Multiaddr("10.9.9.9", 1, keys[5].public)
    table.add_address(seed)
    table.add_address(stranger)
    for place in (0, 1, 3):
        table.connected(keys[place].public, 0)
    assert sorted(map(str, [a for (a,) in table.due_dials(HEAD_START_MS)])) == sorted(
        map(str, (seed, stranger))
    )
    for place in (0, 1, 3, 4):
        table.learn(make_record(keys[place], port=7777), chain_id)
    table.penalise(_strangers(1)[0], BadSignature("x"), 0)  # Nobody looks for a stranger.
    assert _dialled(table, 10**6) == [keys[4].public]
    for place in (0, 1, 3):  # All alone, whatever is known may be out of date.
        table.disconnected(keys[place].public, 10**6)
    assert len(table.due_dials(10**7)) == 4 + 2


def test_first_contacts_are_bounded(table, keys) -> None:
    for port in range(1, 500):
        table.add_address(Multiaddr("10.0.0.1", port))
        table.add_address(Multiaddr("10.0.0.1", port, keys[0].public))
        table.add_address(Multiaddr("10.0.0.1", port, keys[2].public))  # Our own: nobody dials itself.
    dialled = table.due_dials(HEAD_START_MS) + table.due_dials(HEAD_START_MS + PORTION_MS)
    dialled += table.due_dials(HEAD_START_MS + 2 * PORTION_MS)
    assert len(dialled) == peers.CONTACTS_MAX + 1
    assert max(len(addresses) for addresses in dialled) == 8


# Members and observers


def test_a_pipe_with_our_own_key_is_refused(table, keys) -> None:
    assert not table.connected(keys[2].public, 0)
    assert table.refusal(keys[2].public, 0) == "it has our own key"
    assert table.connected_peers() == ()


def test_observers_are_bounded_and_members_always_find_room(table, keys) -> None:
    strangers = _strangers(OBSERVERS_MAX + 1)
    assert all(table.connected(peer, 0) for peer in strangers[:-1])
    assert not table.connected(strangers[-1], 0)
    assert "observers" in table.refusal(strangers[-1], 0)
    table.penalise(strangers[-1], BadSignature("x"), 0)
    assert "observers" in table.refusal(strangers[-1], 0)  # Known, and still one too many.
    assert table.connected(strangers[0], 1)  # A second pipe of one that is here replaces its first.
    assert table.connected(keys[0].public, 0)
    table.disconnected(strangers[0], 2)
    assert table.connected(strangers[-1], 3)
    assert len(table.connected_peers()) == OBSERVERS_MAX + 1
    assert table.connected_members() == (keys[0].public,)


def test_passing_strangers_leave_a_bounded_memory(table, keys) -> None:
    for peer in _strangers(3 * STRANGERS_KNOWN_MAX):
        table.connected(peer, 0)
        table.disconnected(peer, 1)
    assert len(table.rows(2)) == STRANGERS_KNOWN_MAX + 4


def test_observers_take_no_place_in_the_mesh(keys) -> None:
    members = [b"\x02" + (2 * number).to_bytes(32, "big") for number in range(40)]
    table = PeerTable(members[0], member_keys=members)
    for peer in members[1:]:
        table.connected(peer, 0)
    alone = table.push_targets()
    between = [b"\x02" + (2 * number + 1).to_bytes(32, "big") for number in range(5)]
    for peer in between:
        table.connected(peer, 0)
    assert table.push_targets() == alone
    assert table.connected_observers() == tuple(between)
    assert table.connected_members() == tuple(members[1:])
    table.disconnected(between[0], 1)
    table.add_members(between[1:2])
    assert table.connected_observers() == tuple(between[2:])
    assert between[1] in table.connected_members()


def test_what_everybody_makes_is_pushed_to_a_few_however_large_the_mesh_is() -> None:
    members = [b"\x02" + number.to_bytes(32, "big") for number in range(40)]
    table = PeerTable(members[0], member_keys=members)
    table.mesh_degree = 39
    for peer in (*members[1:], b"\x03" * 33):
        table.connected(peer, 0)
    assert len(table.push_targets()) == 39
    assert len(table.few_targets()) == MESH_DEGREE
    assert set(table.digest_targets()) <= {*table.few_targets(), b"\x03" * 33}


def test_an_observer_stops_at_a_few_pipes(make_record, chain_id) -> None:
    members = [PrivateKey((number + 1).to_bytes(32, "big")) for number in range(OBSERVER_PIPES + 4)]
    own = PrivateKey((99).to_bytes(32, "big")).public
    table = PeerTable(own, member_keys=[key.public for key in members])
    assert not table.is_member(own)
    for key in members:
        table.learn(make_record(key), chain_id)
    assert len(table.due_dials(HEAD_START_MS)) == OBSERVER_PIPES
    for key in members[:OBSERVER_PIPES]:
        table.connected(key.public, 0)
    assert table.due_dials(10**9) == ()
    assert table.next_due_ms(10**9) is None
    table.disconnected(members[0].public, 10**9)
    assert len(table.due_dials(10**9 + HEAD_START_MS)) > 0


def test_observers_dial_no_more_than_they_need_and_not_all_the_same(make_record, chain_id) -> None:
    members = [PrivateKey((number + 1).to_bytes(32, "big")) for number in range(3 * OBSERVER_PIPES)]
    chosen = set()
    for number in range(99, 103):
        table = PeerTable(
            PrivateKey(number.to_bytes(32, "big")).public, member_keys=[key.public for key in members]
        )
        for key in members:
            table.learn(make_record(key), chain_id)
        dialled = _dialled(table, HEAD_START_MS)
        assert len(dialled) == OBSERVER_PIPES
        assert table.due_dials(HEAD_START_MS + OBSERVER_PORTION_MS - 1) == ()
        table.connected(dialled[0], HEAD_START_MS)
        later = _dialled(table, HEAD_START_MS + OBSERVER_PORTION_MS)
        assert len(later) == OBSERVER_PIPES - 1
        assert not {*later} & {*dialled}
        chosen.add(tuple(dialled))
    assert len(chosen) == 4


def test_membership_is_the_list_of_genesis(table, keys) -> None:
    assert [table.is_member(key.public) for key in keys] == [True] * 5 + [False]
    table.connected(keys[5].public, 0)
    assert table.is_connected(keys[5].public)
    assert not table.is_member(keys[5].public)


# Standing


def test_three_bad_signatures_disconnect_for_a_bounded_time(table, keys, make_record, chain_id) -> None:
    liar = keys[4].public
    table.learn(make_record(keys[4]), chain_id)
    table.connected(liar, 0)
    assert table.penalise(liar, BadSignature("x"), 0) is None
    assert table.penalise(liar, BadSignature("x"), 0) is None
    until_ms = table.penalise(liar, BadSignature("x"), 0)
    assert until_ms == BAN_FIRST_MS
    table.disconnected(liar, 1)
    assert not table.connected(liar, until_ms - 1)
    assert "banned" in table.refusal(liar, until_ms - 1)
    assert table.next_due_ms(1) == until_ms
    assert _dialled(table, until_ms) == [liar]
    assert table.connected(liar, until_ms)


def test_a_banned_member_is_not_dialled_before_its_time(table, keys, make_record, chain_id) -> None:
    table.learn(make_record(keys[4]), chain_id)
    assert table.penalise(keys[4].public, MalformedMessage("x"), 0) == BAN_FIRST_MS
    assert table.next_due_ms(0) == BAN_FIRST_MS


def test_a_member_never_stays_banned_beyond_the_bound(table, keys) -> None:
    now_ms = 0
    for _ in range(30):
        until_ms = table.penalise(keys[0].public, MalformedMessage("x"), now_ms)
        assert until_ms is not None
        assert until_ms - now_ms <= BAN_MAX_MS
        now_ms = until_ms
        assert table.refusal(keys[0].public, now_ms) == ""


def test_a_ban_outlives_the_pipe_of_an_observer(table, keys) -> None:
    stranger = keys[5].public
    table.connected(stranger, 0)
    assert table.penalise(stranger, MalformedMessage("x"), 0) == BAN_FIRST_MS
    table.disconnected(stranger, 1)
    assert not table.connected(stranger, 2)
    assert table.refusal(stranger, 2) == f"banned for {BAN_FIRST_MS - 2} ms more"
    banned = [[row.banned_until_ms for row in table.rows(at)][-1] for at in (2, BAN_FIRST_MS)]
    assert banned == [BAN_FIRST_MS, 0]


def test_nobody_penalises_itself(table, keys) -> None:
    assert table.penalise(keys[2].public, MalformedMessage("x"), 0) is None
    assert keys[2].public not in [row.key for row in table.rows(0)]


def test_rows_show_what_a_person_asks_for(table, keys, make_record, chain_id) -> None:
    table.learn(make_record(keys[4]), chain_id)
    table.due_dials(0)
    table.connected(keys[5].public, 0)
    table.penalise(keys[5].public, BadSignature("x"), 0)
    rows = table.rows(0)
    assert [row.key for row in rows] == [keys[place].public for place in (0, 1, 3, 4, 5)]
    waiting, observer = rows[3], rows[4]
    assert waiting.is_member
    assert waiting.attempts == 1
    assert waiting.next_dial_ms == DIAL_DEADLINE_MS
    assert waiting.addresses == make_record(keys[4]).addresses
    assert observer.is_connected
    assert not observer.is_member
    assert observer.score == 66
    assert table.rows(10**6)[4].score == 100  # As it is by then.
    assert observer.next_dial_ms is None


def test_a_digest_goes_to_a_small_mesh_whole_and_to_a_large_one_in_turn() -> None:
    for count, at_once in ((5, 4), (20, 2)):
        keys = [PrivateKey(bytes([number + 1]) * 32).public for number in range(count)]
        table = PeerTable(keys[0], member_keys=keys)
        for key in keys[1:]:
            assert table.connected(key, 0)
        told = [table.digest_targets() for _ in range(8)]
        assert {len(peers) for peers in told} == {at_once}
        assert {peer for peers in told for peer in peers} == set(table.push_targets())
        assert table.connected(b"\x03" * 33, 0)
        assert b"\x03" * 33 in table.digest_targets()  # Whoever only follows is told every time.
