"""Balances move, fees are halved, and nothing is ever created."""

from __future__ import annotations

import pytest
from support.chain import make_genesis, private_keys

from p2pfed.errors import InvalidTransaction
from p2pfed.ledger.module import AddBond, AskExit, Burn, Context, Credit, Payload, Release, Run
from p2pfed.ledger.modules import accounts
from p2pfed.ledger.modules.accounts import Account, AccountsState
from p2pfed.types.params import PARTICIPANTS_MAX
from p2pfed.types.transaction import Bond, Transaction, Transfer, Unbond, Unjail

A, B, C, STRANGER = (key.public for key in private_keys(4))
NONE = bytes(64)
GENESIS = make_genesis([1], bond_min=5)
CONTEXT = Context(GENESIS.chain_id, GENESIS.params, 1, 1, C)


def state_of(*balances: int) -> AccountsState:
    return AccountsState(
        tuple(Account(key, balance, 0) for key, balance in zip((A, B, C), balances, strict=False)), 0
    )


def run(state: AccountsState, transaction: Transaction) -> tuple[AccountsState, tuple[Payload, ...]]:
    return accounts.execute(Run(transaction), CONTEXT, state)


def pay(
    state: AccountsState, sender: bytes, recipient: bytes, amount: int, fee: int, nonce: int = 0
) -> AccountsState:
    after, calls = run(state, Transfer(sender, recipient, amount, fee, nonce, NONE))
    assert calls == ()
    assert after.total == state.total
    return after


def balances(state: AccountsState) -> list[int]:
    return [account.balance for account in state.accounts]


def test_a_transfer_moves_its_amount_and_halves_its_fee() -> None:
    after = pay(state_of(100, 0, 0), A, B, 60, 7)
    assert balances(after) == [33, 60, 3]
    assert after.burned == 4  # The odd coin is burned.
    assert [account.nonce for account in after.accounts] == [1, 0, 0]


def test_a_transfer_of_nothing_may_pay_a_fee() -> None:
    assert balances(pay(state_of(100, 0, 0), A, B, 0, 7)) == [93, 0, 3]


def test_payer_recipient_and_proposer_may_be_one() -> None:
    assert balances(pay(state_of(100, 0, 0), A, A, 60, 7)) == [93, 0, 3]
    assert balances(pay(state_of(0, 0, 100), C, C, 60, 7)) == [0, 0, 96]
    assert balances(pay(state_of(100, 0, 0), A, C, 60, 7)) == [33, 0, 63]


def test_all_that_one_has_can_be_spent_and_not_one_more() -> None:
    assert balances(pay(state_of(100, 0, 0), A, B, 98, 2)) == [0, 98, 1]
    with pytest.raises(InvalidTransaction, match="amount and fee are 101, the balance is 100"):
        pay(state_of(100, 0, 0), A, B, 98, 3)


@pytest.mark.parametrize("nonce", [0, 2, 1 << 60])
def test_each_nonce_is_used_once_and_in_order(nonce: int) -> None:
    state = pay(state_of(100, 0, 0), A, B, 1, 0, 0)
    with pytest.raises(InvalidTransaction, match=f"nonce {nonce} where 1 is next"):
        pay(state, A, B, 1, 0, nonce)
    pay(state, A, B, 1, 0, 1)


def test_strangers_pay_nothing() -> None:
    with pytest.raises(InvalidTransaction, match="has no account"):
        pay(state_of(100, 0, 0), STRANGER, A, 1, 0)


def test_who_is_sent_a_whole_bond_gets_an_account() -> None:
    state = pay(state_of(100, 0, 0), A, STRANGER, 5, 0)
    account = state.account(STRANGER)
    assert account == Account(STRANGER, 5, 0)
    keys = [entry.key for entry in state.accounts]
    assert keys == sorted(keys)
    with pytest.raises(InvalidTransaction, match="5 would open one, not 4"):
        pay(state_of(100, 0, 0), A, STRANGER, 4, 0)
    with pytest.raises(InvalidTransaction, match="is no public key"):
        pay(state_of(100, 0, 0), A, bytes(33), 5, 0)


def test_there_are_no_more_accounts_than_the_limit() -> None:
    others = tuple(
        Account(b"\x03" + number.to_bytes(32, "big"), 0, 0) for number in range(PARTICIPANTS_MAX - 3)
    )
    full = AccountsState((*state_of(100, 0, 0).accounts, *others), 0)
    with pytest.raises(InvalidTransaction, match="512 accounts already"):
        pay(full, A, STRANGER, 5, 0)
    pay(full, A, B, 5, 0)


@pytest.mark.parametrize(
    "transaction",
    [Transfer(A, B, 0, 0, 0, NONE), Bond(A, 0, 0, 0, NONE), Unbond(A, 0, 0, 0, NONE)],
)
def test_a_transaction_about_nothing_is_refused(transaction: Transaction) -> None:
    with pytest.raises(InvalidTransaction, match="of nothing"):
        run(state_of(100, 0, 0), transaction)


@pytest.mark.parametrize(
    ("transaction", "balance", "call"),
    [
        (Bond(A, 60, 7, 0, NONE), 33, AddBond(A, 60)),
        (Unbond(A, 60, 7, 0, NONE), 93, AskExit(A, 60)),
        (Unjail(A, 7, 0, NONE), 93, Release(A)),
        (Unjail(A, 0, 0, NONE), 100, Release(A)),
    ],
)
def test_a_change_of_stake_costs_its_fee_and_is_carried_on(
    transaction: Transaction, balance: int, call: Payload
) -> None:
    after, calls = run(state_of(100, 0, 0), transaction)
    assert calls == (call,)
    account = after.account(A)
    assert account is not None
    assert (account.balance, account.nonce) == (balance, 1)
    bonded = 60 if isinstance(transaction, Bond) else 0
    assert after.total + bonded == 100


def test_what_is_free_again_is_spendable_and_what_is_burned_is_counted() -> None:
    state, _ = accounts.execute(Credit(B, 7), CONTEXT, state_of(1, 2, 3))
    assert balances(state) == [1, 9, 3]
    state, _ = accounts.execute(Burn(4), CONTEXT, state)
    assert state.burned == 4
    assert accounts.end_block(CONTEXT, state) == (state, ())
