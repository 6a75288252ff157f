"""Run a block on the ledger: convictions, then transactions, then the update set, then what falls due."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from p2pfed.errors import InvalidTransaction
from p2pfed.ledger.module import (
    AddBond,
    AskExit,
    Burn,
    Context,
    Convict,
    CountUpdates,
    Credit,
    Expire,
    Judge,
    Module,
    Pause,
    Payload,
    Present,
    Release,
    Reward,
    Run,
    Slash,
    Tombstone,
)
from p2pfed.ledger.modules import accounts, contribution, quality, slashing, staking, training
from p2pfed.ledger.state import MODULES, LedgerState, next_seed
from p2pfed.primitives import codec, merkle
from p2pfed.types.transaction import Transaction

_ROUTES: Mapping[type[Any], Module] = {
    Run: accounts,
    Credit: accounts,
    Burn: accounts,
    AddBond: staking,
    AskExit: staking,
    Release: staking,
    Slash: staking,
    Tombstone: staking,
    Present: staking,
    CountUpdates: training,
    Pause: training,
    Convict: slashing,
    Expire: slashing,
    Reward: contribution,
    Judge: quality,
}

RECEIPT_OK = 0  # The only code for now: a transaction that is refused makes its block invalid.


def begin_block(ledger: LedgerState, parent_hash: bytes) -> LedgerState:
    """Return the ledger with the seed of the new height."""
    return msgspec.structs.replace(ledger, seed=next_seed(ledger.seed, parent_hash))


def execute_convictions(ledger: LedgerState, convictions: Iterable[Convict], context: Context) -> LedgerState:
    """Carry out proven convictions.

    Raises:
        InvalidTransaction: A key is convicted of the same kind of offence a second time.
    """
    for conviction in convictions:
        ledger = _execute(ledger, conviction, context)
    return ledger


def execute_transaction(ledger: LedgerState, transaction: Transaction, context: Context) -> LedgerState:
    """Carry out one transaction, all or nothing.

    Raises:
        InvalidTransaction: Unsigned, unknown account, another nonce, more than there is, or against a rule.
    """
    if not transaction.is_signed_by(transaction.sender, context.chain_id):
        raise InvalidTransaction(f"the transaction is not signed by {transaction.sender.hex()[:12]}…")
    return _execute(ledger, Run(transaction), context)


def end_block(
    ledger: LedgerState,
    updates: CountUpdates,
    present: frozenset[bytes],
    context: Context,
    reward: Reward | None = None,
    judge: Judge | None = None,
) -> LedgerState:
    """Note the update set and who lives, pay, judge the last model, and let every module finish the block."""
    ledger = _execute(ledger, updates, context)
    if reward is not None:
        ledger = _execute(ledger, reward, context)
    if judge is not None:
        ledger = _execute(ledger, judge, context)
    ledger = _execute(ledger, Present(present), context)
    for module in MODULES:
        ledger = _with_calls(ledger, module, module.end_block(context, getattr(ledger, module.name)), context)
    return ledger


def receipts_root(transactions: int) -> bytes:
    """Return the root over the result codes of a block's transactions."""
    return merkle.root([codec.encode(RECEIPT_OK)] * transactions)


def _execute(ledger: LedgerState, payload: Payload, context: Context) -> LedgerState:
    module = _ROUTES[type(payload)]
    return _with_calls(
        ledger, module, module.execute(payload, context, getattr(ledger, module.name)), context
    )


def _with_calls(
    ledger: LedgerState, module: Module, answer: tuple[Any, tuple[Payload, ...]], context: Context
) -> LedgerState:
    changed, calls = answer
    ledger = msgspec.structs.replace(ledger, **{module.name: changed})
    for call in calls:
        ledger = _execute(ledger, call, context)
    return ledger
