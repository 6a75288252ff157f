"""Proposed blocks: fetched, completed and checked once; what is missing is no verdict."""

from __future__ import annotations

import msgspec
import pytest
from support.chain import World

from p2pfed.chain.check import check_body
from p2pfed.node.effects import CheckProposal, Effect, FetchBody, FetchPayload
from p2pfed.node.update_pool import UpdatePool
from p2pfed.node.values import VALUES_MAX, Values


class Table:
    """The values of height 1, and a block that is proposed there."""

    def __init__(self) -> None:
        self.world = World((10, 10, 10, 10))
        self.pool = UpdatePool(self.world.state)
        self.outbox: list[Effect] = []
        self.values = Values(self.world.state, self.pool, self.outbox)
        self.header, self.body, self.after = self.world.build()
        self.value_id = self.header.value_id

    def asked(self, kind: type) -> list:
        return [effect for effect in self.outbox if isinstance(effect, kind)]


@pytest.fixture
def table() -> Table:
    return Table()


def test_a_wanted_block_is_fetched_until_its_body_is_here(table: Table) -> None:
    table.values.want(table.value_id, table.header, (b"one", b"two"))
    assert table.asked(FetchBody) == [FetchBody(table.header, (b"one", b"two"))]
    table.values.add_body(table.header, table.body)
    table.values.want(table.value_id, table.header, (b"three",))
    assert len(table.asked(FetchBody)) == 1


def test_a_body_calls_for_the_payloads_that_are_not_here(table: Table) -> None:
    held = table.body.updates[0]
    table.pool.add_header(held)
    table.pool.settle(held.update_id, is_valid=True)
    assert table.values.add_body(table.header, table.body) is None
    assert {effect.header for effect in table.asked(FetchPayload)} == set(table.body.updates) - {held}
    assert set(table.pool.known) == {header.update_id for header in table.body.updates}


def test_the_check_starts_with_the_last_payload_and_only_once(table: Table) -> None:
    table.values.add_body(table.header, table.body)
    for header in table.body.updates:
        assert table.asked(CheckProposal) == []
        table.pool.settle(header.update_id, is_valid=True)
        table.values.progress()
    table.values.progress()
    checked = check_body(table.world.state, table.header, table.body)
    assert table.asked(CheckProposal) == [CheckProposal(table.world.state, table.header, table.body, checked)]


def test_a_block_with_a_payload_that_we_refused_stays_open(table: Table) -> None:
    table.values.add_body(table.header, table.body)
    for number, header in enumerate(table.body.updates):
        table.pool.settle(header.update_id, is_valid=number > 0)
    table.values.progress()
    assert table.asked(CheckProposal) == []
    value = table.values.get(table.value_id)
    assert value is not None
    assert value.refusal is None


def test_a_body_that_breaks_a_rule_is_refused_without_a_payload(table: Table) -> None:
    false = msgspec.structs.replace(table.header, train_index=9)
    refusal = table.values.add_body(false, table.body)
    assert refusal is not None
    assert "train_index" in refusal
    assert table.outbox == []
    table.values.progress()
    assert table.outbox == []


def test_the_second_copy_of_a_body_changes_nothing(table: Table) -> None:
    table.values.add_body(table.header, table.body)
    before = len(table.outbox)
    assert table.values.add_body(table.header, table.body) is None
    assert len(table.outbox) == before


def test_the_first_verdict_stands(table: Table) -> None:
    table.values.add_body(table.header, table.body)
    assert table.values.settle(table.value_id, None, "wrong")
    assert not table.values.settle(table.value_id, table.after, "")
    value = table.values.get(table.value_id)
    assert value is not None
    assert (value.state, value.refusal) == (None, "wrong")
    assert not table.values.settle(b"unknown", table.after, "")


def test_a_block_of_our_own_needs_no_check(table: Table) -> None:
    table.values.add_own(table.header, table.body, table.after)
    table.values.progress()
    assert table.outbox == []
    value = table.values.get(table.value_id)
    assert value is not None
    assert value.state is table.after


def test_a_liar_cannot_fill_the_memory_with_headers(table: Table) -> None:
    for number in range(VALUES_MAX):
        table.values.want(number.to_bytes(32, "big"), table.header, ())
    table.outbox.clear()
    table.values.want(table.value_id, table.header, ())
    assert table.values.get(table.value_id) is None
    assert table.outbox == []
    table.values.want(bytes(32), table.header, ())
    assert len(table.outbox) == 1


def test_a_block_waits_for_the_payloads_that_it_calls_for_and_without_a_body_for_all(table: Table) -> None:
    table.values.want(table.value_id, table.header, (b"one",))
    other = table.world.update(0, 1)
    for update in (other, *table.body.updates[:2]):
        table.pool.add_header(update)
    table.pool.settle(table.body.updates[0].update_id, is_valid=True)
    sizes = [update.payload_bytes for update in table.body.updates]
    assert table.values.missing_bytes(table.value_id) == other.payload_bytes + sizes[1]
    table.values.add_body(table.header, table.body)
    assert table.values.missing_bytes(table.value_id) == sum(sizes[1:])
    for update in table.body.updates:
        table.pool.settle(update.update_id, is_valid=True)
    assert table.values.missing_bytes(table.value_id) == 0
