"""Run a block on the ledger: convictions, then transactions, then the update set, then what falls due."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from p2pfed.errors import InvalidTransaction
from p2pfed.ledger.module import BurnBond, Convict, CountUpdates, Leave, Module, Pay, Payload, Tombstone
from p2pfed.ledger.modules import accounts, slashing, staking, training
from p2pfed.ledger.state import MODULES, LedgerState, next_seed
from p2pfed.primitives import codec, merkle
from p2pfed.types.transaction import Transfer

_ROUTES: Mapping[type[Any], Module] = {
    Pay: accounts,
    BurnBond: accounts,
    Tombstone: accounts,
    Leave: staking,
    CountUpdates: training,
    Convict: slashing,
}

RECEIPT_OK = 0  # The only code for now: a transaction that is refused makes its block invalid.


def begin_block(ledger: LedgerState, parent_hash: bytes) -> LedgerState:
    """Return the ledger with the seed of the new height."""
    return msgspec.structs.replace(ledger, seed=next_seed(ledger.seed, parent_hash))


def execute_convictions(
    ledger: LedgerState, convictions: Iterable[Convict], height: int, proposer: bytes
) -> LedgerState:
    """Carry out proven convictions.

    Raises:
        InvalidTransaction: A key is convicted of the same offence a second time.
    """
    for conviction in convictions:
        ledger = _execute(ledger, conviction, proposer, height)
    return ledger


def execute_transaction(
    ledger: LedgerState, transfer: Transfer, height: int, proposer: bytes, chain_id: bytes
) -> LedgerState:
    """Carry out one transaction, all or nothing.

    Raises:
        InvalidTransaction: Unsigned, unknown account, another nonce, or more than the balance.
    """
    if not transfer.is_signed_by(transfer.sender, chain_id):
        raise InvalidTransaction(f"the transfer is not signed by {transfer.sender.hex()[:12]}…")
    return _execute(ledger, Pay(transfer, proposer), transfer.sender, height)


def end_block(ledger: LedgerState, updates: CountUpdates, height: int, proposer: bytes) -> LedgerState:
    """Note the update set and let every module finish the block."""
    ledger = _execute(ledger, updates, proposer, height)
    return msgspec.structs.replace(
        ledger, **{module.name: module.end_block(height, getattr(ledger, module.name)) for module in MODULES}
    )


def receipts_root(transactions: int) -> bytes:
    """Return the root over the result codes of a block's transactions."""
    return merkle.root([codec.encode(RECEIPT_OK)] * transactions)


def _execute(ledger: LedgerState, payload: Payload, sender: bytes, height: int) -> LedgerState:
    module = _ROUTES[type(payload)]
    changed, calls = module.execute(payload, sender, height, getattr(ledger, module.name))
    ledger = msgspec.structs.replace(ledger, **{module.name: changed})
    for call in calls:
        ledger = _execute(ledger, call, sender, height)
    return ledger
