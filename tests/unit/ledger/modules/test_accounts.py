"""Balances move, fees are halved, and nothing is ever created."""

from __future__ import annotations

import pytest

from p2pfed.errors import InvalidTransaction
from p2pfed.ledger.module import BurnBond, Pay, Tombstone
from p2pfed.ledger.modules import accounts
from p2pfed.ledger.modules.accounts import Account, AccountsState
from p2pfed.types.transaction import Transfer

A, B, C, STRANGER = (bytes([2]) + bytes(31) + bytes([place]) for place in range(4))


def state_of(*balances: int) -> AccountsState:
    return AccountsState(
        tuple(
            Account(key, balance, 1000, 0, tombstoned=False)
            for key, balance in zip((A, B, C), balances, strict=False)
        ),
        0,
    )


def pay(
    state: AccountsState, sender: bytes, recipient: bytes, amount: int, fee: int, nonce: int = 0
) -> AccountsState:
    transfer = Transfer(sender, recipient, amount, fee, nonce, bytes(64))
    after, calls = accounts.execute(Pay(transfer, C), sender, 1, state)
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


def test_strangers_neither_pay_nor_receive() -> None:
    for sender, recipient in ((STRANGER, A), (A, STRANGER)):
        with pytest.raises(InvalidTransaction, match="has no account"):
            pay(state_of(100, 0, 0), sender, recipient, 1, 0)


def test_a_transfer_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidTransaction, match="of nothing"):
        pay(state_of(100, 0, 0), A, B, 0, 0)


@pytest.mark.parametrize(
    ("numerator", "denominator", "bond"), [(1, 20, 950), (1, 200, 995), (1, 3, 667), (1, 1, 0)]
)
def test_a_burnt_share_of_a_bond_is_rounded_down(numerator: int, denominator: int, bond: int) -> None:
    state = state_of(1, 2, 3)
    after, _ = accounts.execute(BurnBond(B, numerator, denominator), C, 1, state)
    assert [account.bond for account in after.accounts] == [1000, bond, 1000]
    assert after.burned == 1000 - bond
    assert after.total == state.total
    assert balances(after) == [1, 2, 3]


def test_a_tombstone_takes_nothing_but_the_vote() -> None:
    state = state_of(1, 2, 3)
    after, _ = accounts.execute(Tombstone(B), C, 1, state)
    assert [account.tombstoned for account in after.accounts] == [False, True, False]
    assert after.total == state.total
