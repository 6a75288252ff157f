"""Balances and bonds: what each participant owns, and how much was burned."""

# The arguments are the contract of a module, used or not.
# ruff: noqa: ARG001
from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec

from p2pfed.errors import InvalidTransaction
from p2pfed.ledger.module import BurnBond, Pay, Payload, Tombstone
from p2pfed.primitives import codec
from p2pfed.types.message import Amount, Message, PublicKey
from p2pfed.types.params import PARTICIPANTS_MAX

name = "accounts"


class Account(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One participant. `nonce` counts its transfers; a tombstoned key neither votes nor trains any more."""

    key: PublicKey
    balance: Amount
    bond: Amount
    nonce: Amount
    tombstoned: bool


class AccountsState(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Accounts in ascending order of key. Balances, bonds and `burned` sum to the same total for ever."""

    accounts: Annotated[tuple[Account, ...], msgspec.Meta(min_length=1, max_length=PARTICIPANTS_MAX)]
    burned: Amount

    @property
    def total(self) -> int:
        """Return what never changes: everything owned and everything burned."""
        return self.burned + sum(account.balance + account.bond for account in self.accounts)

    def account(self, key: bytes) -> Account | None:
        """Return the account of `key`, or None."""
        return next((account for account in self.accounts if account.key == key), None)


def execute(
    payload: Pay | BurnBond | Tombstone, sender: bytes, height: int, state: AccountsState
) -> tuple[AccountsState, tuple[Payload, ...]]:
    """Carry out a transfer, burn a part of a bond, or set a tombstone."""
    match payload:
        case Pay():
            return _pay(payload, sender, state), ()
        case BurnBond():
            return _burn_bond(payload, state), ()
        case Tombstone():
            account = state.account(payload.key)
            assert account is not None
            return _with_account(state, msgspec.structs.replace(account, tombstoned=True)), ()


def end_block(height: int, state: AccountsState) -> AccountsState:
    """Nothing falls due at the end of a block."""
    return state


def leaves(state: AccountsState) -> Iterator[tuple[bytes, bytes]]:
    """Yield one leaf an account under its key, and one for what was burned."""
    yield b"burned", codec.encode(state.burned)
    for account in state.accounts:
        yield account.key, codec.encode(account)


def _pay(payload: Pay, sender: bytes, state: AccountsState) -> AccountsState:
    transfer = payload.transfer
    assert transfer.sender == sender
    payer, recipient = state.account(sender), state.account(transfer.recipient)
    if payer is None or recipient is None:
        stranger = sender if payer is None else transfer.recipient
        raise InvalidTransaction(f"{stranger.hex()[:12]}… has no account in this network")
    if transfer.nonce != payer.nonce:
        raise InvalidTransaction(f"nonce {transfer.nonce} where {payer.nonce} is next")
    cost = transfer.amount + transfer.fee
    if cost == 0:
        raise InvalidTransaction("a transfer of nothing")
    if cost > payer.balance:
        raise InvalidTransaction(f"amount and fee are {cost}, the balance is {payer.balance}")
    reward = transfer.fee // 2  # The proposer's half is rounded down and the rest burned.
    paid = msgspec.structs.replace(payer, balance=payer.balance - cost, nonce=payer.nonce + 1)
    state = _with_account(state, paid)
    # Each step reads the account again: payer, recipient and proposer may be one and the same.
    state = _credit(state, transfer.recipient, transfer.amount)
    state = _credit(state, payload.proposer, reward)
    return msgspec.structs.replace(state, burned=state.burned + transfer.fee - reward)


def _burn_bond(payload: BurnBond, state: AccountsState) -> AccountsState:
    account = state.account(payload.key)
    assert account is not None
    assert 0 <= payload.numerator <= payload.denominator
    burned = account.bond * payload.numerator // payload.denominator
    state = _with_account(state, msgspec.structs.replace(account, bond=account.bond - burned))
    return msgspec.structs.replace(state, burned=state.burned + burned)


def _credit(state: AccountsState, key: bytes, amount: int) -> AccountsState:
    account = state.account(key)
    assert account is not None
    return _with_account(state, msgspec.structs.replace(account, balance=account.balance + amount))


def _with_account(state: AccountsState, changed: Account) -> AccountsState:
    accounts = tuple(changed if account.key == changed.key else account for account in state.accounts)
    return msgspec.structs.replace(state, accounts=accounts)
