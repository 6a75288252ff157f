"""Records reach everybody: told on connection, pushed when new, told again in case a message was lost."""

from __future__ import annotations

import pytest
from support.chain import private_keys

from p2pfed.errors import BadSignature
from p2pfed.gossip.exchange import REFRESH_MS, Exchange, Outgoing
from p2pfed.gossip.mesh import MESH_DEGREE
from p2pfed.gossip.peers import PeerTable
from p2pfed.types.wire import PeerRecords


@pytest.fixture
def table(keys) -> PeerTable:
    return PeerTable(keys[2].public, member_keys=[key.public for key in keys[:5]])


@pytest.fixture
def exchange(table, keys, make_record, chain_id) -> Exchange:
    """Return the exchange of keys[2], connected to keys[0] and keys[1], which know its record."""
    table.set_own(make_record(keys[2]))
    made = Exchange(table, chain_id)
    for peer in (keys[0].public, keys[1].public):
        table.connected(peer, 0)
        assert made.greet(peer) == (Outgoing(peer, (PeerRecords((make_record(keys[2]),)),)),)
    return made


def test_news_go_to_everyone_but_where_they_came_from(exchange, keys, make_record) -> None:
    record = make_record(keys[3])
    received = exchange.receive(keys[0].public, PeerRecords((record,)), 5)
    assert received.is_news
    assert received.fault is None
    assert received.outgoing == (Outgoing(keys[1].public, (PeerRecords((record,)),)),)


def test_old_records_behind_new_ones_hide_no_news(exchange, keys, make_record) -> None:
    exchange.receive(keys[1].public, PeerRecords((make_record(keys[4]),)), 4)
    assert exchange.receive(
        keys[0].public, PeerRecords((make_record(keys[3]), make_record(keys[4]))), 5
    ).is_news


def test_old_records_are_not_forwarded(exchange, keys, make_record) -> None:
    message = PeerRecords((make_record(keys[3]),))
    exchange.receive(keys[0].public, message, 5)
    again = exchange.receive(keys[1].public, message, 6)
    assert not again.is_news
    assert again.outgoing == ()
    assert again.fault is None


def test_the_good_records_before_a_bad_one_count_and_the_rest_is_not_read(
    exchange, table, keys, make_record
) -> None:
    bad = make_record(keys[4], chain_id=bytes(32))
    message = PeerRecords((make_record(keys[3]), bad, make_record(keys[1])))
    received = exchange.receive(keys[0].public, message, 5)
    assert isinstance(received.fault, BadSignature)
    assert received.is_news
    assert table.known() == (make_record(keys[3]),)
    assert [item.messages[0].records for item in received.outgoing] == [(make_record(keys[3]),)]


def test_a_quiet_tick_sends_nothing(exchange) -> None:
    assert exchange.tick(0) == ()
    assert exchange.tick(REFRESH_MS - 1) == ()


def test_a_tick_tells_those_whom_no_push_reached(exchange, table, keys, make_record, chain_id) -> None:
    table.learn(make_record(keys[3]), chain_id)
    assert [item.peer for item in exchange.tick(1)] == [keys[0].public, keys[1].public]
    assert exchange.tick(2) == ()


def test_everything_is_told_again_to_one_peer_after_the_other(exchange, keys) -> None:
    exchange.tick(0)
    refreshed = [[item.peer for item in exchange.tick(turn * REFRESH_MS)] for turn in range(1, 5)]
    assert refreshed == [[keys[0].public], [keys[1].public], [keys[0].public], [keys[1].public]]
    assert exchange.tick(4 * REFRESH_MS + 1) == ()


def test_observers_hear_news_at_once_too(exchange, table, keys, make_record) -> None:
    observer = keys[5].public
    table.connected(observer, 0)
    exchange.greet(observer)
    received = exchange.receive(keys[0].public, PeerRecords((make_record(keys[3]),)), 5)
    assert observer in [item.peer for item in received.outgoing]


def test_a_new_own_record_is_pushed(exchange, table, keys, make_record) -> None:
    table.set_own(make_record(keys[2], 7))
    pushed = exchange.push()
    assert [item.peer for item in pushed] == [keys[0].public, keys[1].public]
    assert all(item.messages == (PeerRecords((make_record(keys[2], 7),)),) for item in pushed)


def test_news_go_to_a_few_at_once_and_to_the_rest_with_the_next_tick(make_record, chain_id) -> None:
    members = private_keys(MESH_DEGREE + 4)
    table = PeerTable(members[0].public, member_keys=[key.public for key in members])
    table.mesh_degree = len(members)
    for key in members[1:]:
        table.connected(key.public, 0)
    exchange = Exchange(table, chain_id)
    table.set_own(make_record(members[0]))
    assert len(exchange.push()) == MESH_DEGREE
    assert len(exchange.tick(1)) == len(members) - 1 - MESH_DEGREE
    assert exchange.tick(2) == ()


def test_a_record_that_is_replaced_is_news_again(exchange, table, keys, make_record, chain_id) -> None:
    for place in (3, 4):
        table.learn(make_record(keys[place]), chain_id)
    exchange.tick(1)
    newer = make_record(keys[3], 2)
    table.learn(newer, chain_id)
    assert {item.messages for item in exchange.tick(2)} == {(PeerRecords((newer,)),)}


def test_nobody_to_tell_is_no_error(keys, make_record, chain_id) -> None:
    table = PeerTable(keys[2].public, member_keys=[key.public for key in keys[:5]])
    exchange = Exchange(table, chain_id)
    assert exchange.push() == ()
    assert exchange.tick(10**9) == exchange.tick(2 * 10**9) == ()  # The second is due to refresh somebody.
    assert exchange.greet(keys[5].public) == ()
    assert exchange.receive(keys[0].public, PeerRecords((make_record(keys[3]),)), 0).outgoing == ()
