"""A block runs on the ledger in one order: convictions, transactions, updates, what falls due."""

from __future__ import annotations

import msgspec
import pytest
from support.chain import World

from p2pfed.errors import InvalidTransaction
from p2pfed.ledger.execute import (
    begin_block,
    end_block,
    execute_convictions,
    execute_transaction,
    receipts_root,
)
from p2pfed.ledger.module import Convict, CountUpdates, Offence
from p2pfed.ledger.state import LedgerState, genesis_ledger, next_seed
from p2pfed.primitives.merkle import EMPTY_ROOT

HEIGHT = 1


def convicted(ledger: LedgerState, key: bytes, offence: Offence) -> LedgerState:
    return execute_convictions(ledger, [Convict(key, offence, HEIGHT)], HEIGHT, key)


def test_a_conviction_reaches_every_module_that_it_concerns() -> None:
    world = World([1000] * 4)
    culprit = world.publics[2]
    ledger = convicted(genesis_ledger(world.genesis), culprit, Offence.DUPLICATE_VOTE)
    ledger = end_block(ledger, CountUpdates(0, (), (), is_empty=True), HEIGHT, world.publics[0])
    account = ledger.account(culprit)
    assert account is not None
    assert (account.bond, account.balance, account.tombstoned) == (950, 1000, True)
    assert ledger.accounts.burned == 50
    assert culprit not in {trainer.key for trainer in ledger.trainers}
    for height, count in ((1, 4), (2, 4), (3, 3)):
        validators = ledger.staking.validators_at(height)
        assert validators is not None
        assert len(validators) == count


def test_a_double_proposal_costs_little_and_nobody_leaves() -> None:
    world = World([1000] * 4)
    culprit = world.publics[2]
    ledger = convicted(genesis_ledger(world.genesis), culprit, Offence.DUPLICATE_PROPOSAL)
    ledger = end_block(ledger, CountUpdates(0, (), (), is_empty=True), HEIGHT, culprit)
    account = ledger.account(culprit)
    assert account is not None
    assert (account.bond, account.tombstoned) == (995, False)
    assert ledger.staking.validators_at(3) == world.genesis.validators


def test_only_the_sender_moves_its_money() -> None:
    world = World([1] * 4)
    ledger, proposer = genesis_ledger(world.genesis), world.publics[3]
    transfer = world.transfer(0, 1, 10, 4, 0)
    after = execute_transaction(ledger, transfer, HEIGHT, proposer, world.genesis.chain_id)
    assert [account.balance for account in after.accounts.accounts] == [986, 1010, 1000, 1002]
    stolen = msgspec.structs.replace(transfer, sender=world.publics[2])
    for forged, chain_id in ((stolen, world.genesis.chain_id), (transfer, bytes(32))):
        with pytest.raises(InvalidTransaction, match="not signed by"):
            execute_transaction(ledger, forged, HEIGHT, proposer, chain_id)


def test_a_refused_transaction_leaves_the_state_as_it_was() -> None:
    world = World([1] * 4)
    ledger = genesis_ledger(world.genesis)
    before = ledger.root
    with pytest.raises(InvalidTransaction):
        execute_transaction(
            ledger, world.transfer(0, 1, 999, 2, 0), HEIGHT, world.publics[3], world.genesis.chain_id
        )
    assert ledger.root == before


def test_each_height_has_a_seed_of_its_own() -> None:
    ledger = genesis_ledger(World([1]).genesis)
    first = begin_block(ledger, bytes(32))
    assert first.seed == next_seed(ledger.seed, bytes(32)) != ledger.seed
    assert begin_block(ledger, bytes(31) + b"x").seed != first.seed
    assert msgspec.structs.replace(first, seed=ledger.seed) == ledger


def test_receipts_count_the_transactions() -> None:
    assert receipts_root(0) == EMPTY_ROOT
    assert len({receipts_root(count) for count in range(5)}) == 5
