"""Transfers that wait for a block: verified, bounded for each sender and in all, and only what can run."""

from __future__ import annotations

import msgspec
import pytest
from support.chain import BALANCE, World

from p2pfed.errors import BadSignature, OutOfBounds
from p2pfed.node import transaction_pool
from p2pfed.node.transaction_pool import TRANSACTIONS_PER_SENDER_MAX, TransactionPool


@pytest.fixture
def world() -> World:
    return World((10, 10, 10, 10))


def test_a_transfer_is_kept_once_and_the_first_of_its_nonce_stays(world: World) -> None:
    pool = TransactionPool()
    first, second = world.transfer(0, 1, 5, 1, 0), world.transfer(0, 1, 6, 1, 0)
    assert pool.add(first, world.state)
    assert not pool.add(first, world.state)
    assert not pool.add(second, world.state)
    assert pool.select(world.state) == (first,)


def test_a_forged_transfer_or_one_of_nothing_costs_its_sender(world: World) -> None:
    pool = TransactionPool()
    transfer = world.transfer(0, 1, 5, 1, 0)
    with pytest.raises(BadSignature):
        pool.add(msgspec.structs.replace(transfer, amount=50), world.state)
    with pytest.raises(OutOfBounds):
        pool.add(world.transfer(0, 1, 0, 0, 0), world.state)
    assert len(pool) == 0


def test_a_nonce_too_far_ahead_is_not_kept(world: World) -> None:
    pool = TransactionPool()
    assert pool.add(world.transfer(0, 1, 1, 0, TRANSACTIONS_PER_SENDER_MAX - 1), world.state)
    assert not pool.add(world.transfer(0, 1, 1, 0, TRANSACTIONS_PER_SENDER_MAX), world.state)


def test_a_full_pool_takes_no_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transaction_pool, "TRANSACTION_POOL_MAX", 2)
    pool = TransactionPool()
    assert pool.add(world.transfer(0, 1, 1, 0, 0), world.state)
    assert pool.add(world.transfer(1, 0, 1, 0, 0), world.state)
    assert not pool.add(world.transfer(2, 0, 1, 0, 0), world.state)


def test_a_sender_without_an_account_has_nothing_to_spend(world: World) -> None:
    small = World((10, 10))
    assert not TransactionPool().add(world.transfer(3, 1, 1, 0, 0), small.state)


def test_nonces_run_in_order_and_a_gap_waits(world: World) -> None:
    pool = TransactionPool()
    transfers = [world.transfer(0, 1, 1, 0, nonce) for nonce in (0, 1, 3)]
    for transfer in reversed(transfers):
        pool.add(transfer, world.state)
    assert pool.select(world.state) == tuple(transfers[:2])


def test_a_sender_spends_only_what_it_has(world: World) -> None:
    pool = TransactionPool()
    first, second = world.transfer(0, 1, BALANCE - 10, 5, 0), world.transfer(0, 1, 5, 1, 1)
    pool.add(first, world.state)
    pool.add(second, world.state)
    assert pool.select(world.state) == (first,)
    exact = TransactionPool()
    exact.add(first, world.state)
    third = world.transfer(0, 1, 4, 1, 1)
    exact.add(third, world.state)
    assert exact.select(world.state) == (first, third)


def test_a_block_takes_a_bounded_number(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transaction_pool, "TRANSACTIONS_PER_BLOCK_MAX", 2)
    pool = TransactionPool()
    for nonce in range(3):
        pool.add(world.transfer(0, 1, 1, 0, nonce), world.state)
    assert len(pool.select(world.state)) == 2


def test_what_has_run_leaves_the_pool_and_is_not_taken_again(world: World) -> None:
    pool = TransactionPool()
    first, second = world.transfer(0, 1, 1, 0, 0), world.transfer(0, 1, 1, 0, 1)
    pool.add(first, world.state)
    pool.add(second, world.state)
    world.advance(transactions=(first,))
    pool.prune(world.state)
    assert pool.select(world.state) == (second,)
    assert not pool.add(first, world.state)
    assert len(pool) == 1
