"""Balances: what each participant can spend, and how much was burned. What is at stake is in `staking`."""

# The arguments are the contract of a module, used or not.
# ruff: noqa: ARG001
from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, assert_never

import msgspec

from p2pfed.errors import InvalidTransaction
from p2pfed.ledger.module import AddBond, AskExit, Burn, Context, Credit, Payload, Release, Run
from p2pfed.primitives import codec
from p2pfed.primitives.keys import is_public_key
from p2pfed.types.message import Amount, Message, PublicKey
from p2pfed.types.params import PARTICIPANTS_MAX
from p2pfed.types.transaction import Bond, Transaction, Transfer, Unbond, Unjail, cost_of

name = "accounts"


class Account(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One participant. `nonce` counts its transactions."""

    key: PublicKey
    balance: Amount
    nonce: Amount


class AccountsState(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Accounts in ascending order of key. With what is at stake they sum to the same total for ever."""

    accounts: Annotated[tuple[Account, ...], msgspec.Meta(min_length=1, max_length=PARTICIPANTS_MAX)]
    burned: Amount

    @property
    def total(self) -> int:
        """Return everything that is spendable or burned."""
        return self.burned + sum(account.balance for account in self.accounts)

    def account(self, key: bytes) -> Account | None:
        """Return the account of `key`, or None."""
        return next((account for account in self.accounts if account.key == key), None)


def execute(
    payload: Run | Credit | Burn, context: Context, state: AccountsState
) -> tuple[AccountsState, tuple[Payload, ...]]:
    """Charge a transaction and carry it out, free stake that has waited, or note what was burned."""
    match payload:
        case Run():
            return _run(payload.transaction, context, state)
        case Credit():
            return _credit(state, payload.key, payload.amount), ()
        case Burn():
            return msgspec.structs.replace(state, burned=state.burned + payload.amount), ()


def end_block(context: Context, state: AccountsState) -> tuple[AccountsState, tuple[Payload, ...]]:
    """Nothing falls due at the end of a block."""
    return state, ()


def leaves(state: AccountsState) -> Iterator[tuple[bytes, bytes]]:
    """Yield one leaf an account under its key, and one for what was burned."""
    yield b"burned", codec.encode(state.burned)
    for account in state.accounts:
        yield account.key, codec.encode(account)


def _run(
    transaction: Transaction, context: Context, state: AccountsState
) -> tuple[AccountsState, tuple[Payload, ...]]:
    payer = state.account(transaction.sender)
    if payer is None:
        raise InvalidTransaction(f"{transaction.sender.hex()[:12]}… has no account in this network")
    if transaction.nonce != payer.nonce:
        raise InvalidTransaction(f"nonce {transaction.nonce} where {payer.nonce} is next")
    cost, fee = cost_of(transaction), transaction.fee
    if not isinstance(transaction, Unjail) and transaction.amount + fee == 0:
        raise InvalidTransaction(f"a {type(transaction).KIND} of nothing")
    if cost > payer.balance:
        raise InvalidTransaction(f"amount and fee are {cost}, the balance is {payer.balance}")
    reward = fee // 2  # The proposer's half is rounded down and the rest burned.
    paid = msgspec.structs.replace(payer, balance=payer.balance - cost, nonce=payer.nonce + 1)
    state, calls = _with_account(state, paid), tuple[Payload, ...]()
    # Each step reads the account again: payer, recipient and proposer may be one and the same.
    match transaction:
        case Transfer():
            state = _credit(_opened(state, transaction, context), transaction.recipient, transaction.amount)
        case Bond():
            calls = (AddBond(transaction.sender, transaction.amount),)
        case Unbond():
            calls = (AskExit(transaction.sender, transaction.amount),)
        case Unjail():
            calls = (Release(transaction.sender),)
        case _:
            assert_never(transaction)
    state = _credit(state, context.proposer, reward)
    return msgspec.structs.replace(state, burned=state.burned + fee - reward), calls


def _opened(state: AccountsState, transfer: Transfer, context: Context) -> AccountsState:
    """Return the state with an account for the recipient: who is sent as much as a bond may join.

    A smaller gift opens none, so that accounts, of which there are few, are not filled with dust.
    """
    key = transfer.recipient
    if state.account(key) is not None:
        return state
    if transfer.amount < context.params.bond_min:
        raise InvalidTransaction(
            f"{key.hex()[:12]}… has no account in this network; "
            f"{context.params.bond_min} would open one, not {transfer.amount}"
        )
    if not is_public_key(key):
        raise InvalidTransaction(f"{key.hex()[:12]}… is no public key")
    if len(state.accounts) >= PARTICIPANTS_MAX:
        raise InvalidTransaction(f"there are {PARTICIPANTS_MAX} accounts already, and no room for another")
    accounts = sorted((*state.accounts, Account(key, 0, 0)), key=lambda account: account.key)
    return msgspec.structs.replace(state, accounts=tuple(accounts))


def _credit(state: AccountsState, key: bytes, amount: int) -> AccountsState:
    account = state.account(key)
    assert account is not None
    return _with_account(state, msgspec.structs.replace(account, balance=account.balance + amount))


def _with_account(state: AccountsState, changed: Account) -> AccountsState:
    accounts = tuple(changed if account.key == changed.key else account for account in state.accounts)
    return msgspec.structs.replace(state, accounts=accounts)
