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
from p2pfed.ledger.module import BaseModel, Context, Convict, CountUpdates, Judge, Offence, Reward, Word
from p2pfed.ledger.state import LedgerState, genesis_ledger, next_seed
from p2pfed.primitives.merkle import EMPTY_ROOT

HEIGHT = 1


def context_of(world: World, proposer: bytes | None = None) -> Context:
    return world.state.context(proposer or world.publics[0], world.state.time_ms + 1)


def convicted(world: World, key: bytes, offence: Offence) -> LedgerState:
    conviction = Convict(key, offence, HEIGHT, 1000, 4000)
    return execute_convictions(genesis_ledger(world.genesis), [conviction], context_of(world))


def ended(world: World, ledger: LedgerState) -> LedgerState:
    nothing = CountUpdates(BaseModel(0, bytes(32), 0), (), (), is_empty=True)
    return end_block(ledger, nothing, frozenset(world.publics), context_of(world))


def test_a_conviction_reaches_every_module_that_it_concerns() -> None:
    world = World([1000] * 4)
    culprit = world.publics[2]
    ledger = ended(world, convicted(world, culprit, Offence.DUPLICATE_VOTE))
    stake, account = ledger.stake(culprit), ledger.account(culprit)
    assert stake is not None
    assert account is not None
    # A quarter of the stake lied: three quarters of its bond.
    assert (stake.bond, account.balance, stake.tombstoned) == (250, 1000, True)
    assert ledger.accounts.burned == 750
    assert ledger.total == genesis_ledger(world.genesis).total
    assert culprit not in {trainer.key for trainer in ledger.trainers_at(2)}
    for height, count in ((1, 4), (2, 4), (3, 3)):
        validators = ledger.staking.validators_at(height)
        assert validators is not None
        assert len(validators) == count


def test_a_double_proposal_costs_little_and_nobody_leaves() -> None:
    world = World([1000] * 4)
    culprit = world.publics[2]
    ledger = ended(world, convicted(world, culprit, Offence.DUPLICATE_PROPOSAL))
    stake, validators = ledger.stake(culprit), ledger.staking.validators_at(3)
    assert stake is not None
    assert validators is not None
    assert (stake.bond, stake.tombstoned) == (995, False)
    assert [validator.power for validator in validators.validators] == [1000, 1000, 995, 1000]


def test_who_sent_an_invalid_update_sits_out() -> None:
    world = World([1000] * 4)
    culprit = world.publics[2]
    ledger = ended(world, convicted(world, culprit, Offence.INVALID_UPDATE))
    for height, is_there in ((2, False), (3, False)):
        assert (culprit in {trainer.key for trainer in ledger.trainers_at(height)}) is is_there
    assert ledger.training.is_paused(culprit, 11)
    assert not ledger.training.is_paused(culprit, 12)


def test_only_the_sender_moves_its_money() -> None:
    world = World([1] * 4)
    ledger, context = genesis_ledger(world.genesis), context_of(world, world.publics[3])
    transfer = world.transfer(0, 1, 10, 4, 0)
    after = execute_transaction(ledger, transfer, context)
    assert [account.balance for account in after.accounts.accounts] == [986, 1010, 1000, 1002]
    stolen = msgspec.structs.replace(transfer, sender=world.publics[2])
    elsewhere = msgspec.structs.replace(context, chain_id=bytes(32))
    for forged, where in ((stolen, context), (transfer, elsewhere)):
        with pytest.raises(InvalidTransaction, match="not signed by"):
            execute_transaction(ledger, forged, where)


def test_a_refused_transaction_leaves_the_state_as_it_was() -> None:
    world = World([1] * 4)
    ledger = genesis_ledger(world.genesis)
    before = ledger.root
    for refused in (world.transfer(0, 1, 999, 2, 0), world.bond(0, 1000, 1, 0), world.unbond(0, 2, 1, 0)):
        with pytest.raises(InvalidTransaction):
            execute_transaction(ledger, refused, context_of(world))
    assert ledger.root == before


def test_stake_goes_from_balance_to_bond_and_back() -> None:
    world = World([100] * 4, unbonding_ms=0, unbonding_heights=4)
    own = world.publics[0]
    total = world.state.ledger.total
    world.advance(transactions=(world.bond(0, 30, 2, 0),))
    account, stake = world.state.ledger.account(own), world.state.ledger.stake(own)
    assert account is not None
    assert stake is not None
    assert (account.balance, stake.bond) in ((968, 130), (969, 130))  # It may have proposed the block itself.
    before = account.balance
    world.advance(transactions=(world.unbond(0, 40, 0, 1),))
    for _ in range(6):
        world.advance()
        assert world.state.ledger.total == total
    account, stake = world.state.ledger.account(own), world.state.ledger.stake(own)
    assert account is not None
    assert stake is not None
    assert (account.balance, stake.total) == (before + 40, 90)


def test_at_the_end_of_a_block_work_is_paid_and_the_last_model_judged() -> None:
    world = World([1000] * 4, emission=1000, gate_drop=1 << 14)
    voters = tuple((key, 1000) for key in world.publics)
    nobody = (frozenset[bytes](), voters)
    reward = Reward(voters, ((world.publics[1], 1 << 16),), (bytes(256),), nobody, nobody)
    model = BaseModel(0, bytes(32), 0)
    judge = Judge(model, bytes(32), voters, tuple(Word(key, 9, b"") for key in world.publics))
    before, nothing = genesis_ledger(world.genesis), CountUpdates(model, (), (), is_empty=True)
    for paid, judged in ((reward, judge), (reward, None), (None, judge), (None, None)):
        after = end_block(before, nothing, frozenset(world.publics), context_of(world), paid, judged)
        account = after.account(world.publics[1])
        assert account is not None
        assert account.balance == 1000 + (175 if paid else 0)  # 70 % of 1,000 by a quarter of the bonds.
        assert after.contribution.left == before.contribution.left - (175 if paid else 0)
        assert [scored.score for scored in after.quality.window] == ([9] if judged else [])


def test_each_height_has_a_seed_of_its_own() -> None:
    ledger = genesis_ledger(World([1]).genesis)
    first = begin_block(ledger, bytes(32))
    assert first.seed == next_seed(ledger.seed, bytes(32)) != ledger.seed
    assert begin_block(ledger, bytes(31) + b"x").seed != first.seed
    assert msgspec.structs.replace(first, seed=ledger.seed) == ledger


def test_receipts_count_the_transactions() -> None:
    assert receipts_root(0) == EMPTY_ROOT
    assert len({receipts_root(count) for count in range(5)}) == 5
