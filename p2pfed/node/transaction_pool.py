"""Transactions that wait for a block: bounded, in the order of sender and nonce."""

from __future__ import annotations

from p2pfed.chain.state import ChainState
from p2pfed.errors import BadSignature, OutOfBounds
from p2pfed.types.params import TRANSACTION_POOL_MAX, TRANSACTIONS_PER_BLOCK_MAX
from p2pfed.types.transaction import Transfer

# One sender can't fill the pool: this many nonces ahead of its account at most.
TRANSACTIONS_PER_SENDER_MAX = 64


class TransactionPool:
    """Pending transfers by (sender, nonce); the first one seen of a nonce stays."""

    def __init__(self) -> None:
        self._pending: dict[tuple[bytes, int], Transfer] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, transfer: Transfer, state: ChainState) -> bool:
        """Verify and keep a transfer; False where it is known, stale, too far ahead or the pool is full.

        Raises:
            PeerFault: The signature is wrong or the transfer is larger than allowed.
        """
        place = (transfer.sender, transfer.nonce)
        account = state.ledger.accounts.account(transfer.sender)
        if place in self._pending or account is None or len(self._pending) >= TRANSACTION_POOL_MAX:
            return False
        if not account.nonce <= transfer.nonce < account.nonce + TRANSACTIONS_PER_SENDER_MAX:
            return False
        if transfer.amount + transfer.fee == 0:
            raise OutOfBounds("a transfer of nothing")
        if not transfer.is_signed_by(transfer.sender, state.chain_id):
            raise BadSignature(f"transfer of {transfer.sender.hex()[:12]}…")
        self._pending[place] = transfer
        return True

    def select(self, state: ChainState) -> tuple[Transfer, ...]:
        """Return transfers that can run on `state` in this order; each sender pays only what it has."""
        chosen: list[Transfer] = []
        spendable: dict[bytes, tuple[int, int]] = {}
        for place in sorted(self._pending):
            transfer = self._pending[place]
            account = state.ledger.accounts.account(transfer.sender)
            if account is None:
                continue
            nonce, balance = spendable.get(transfer.sender, (account.nonce, account.balance))
            cost = transfer.amount + transfer.fee
            if transfer.nonce == nonce and cost <= balance and len(chosen) < TRANSACTIONS_PER_BLOCK_MAX:
                chosen.append(transfer)
                spendable[transfer.sender] = (nonce + 1, balance - cost)
        return tuple(chosen)

    def prune(self, state: ChainState) -> None:
        """Drop what `state` has executed or overtaken."""
        stale = []
        for sender, nonce in self._pending:
            account = state.ledger.accounts.account(sender)
            if account is None or nonce < account.nonce:
                stale.append((sender, nonce))
        for place in stale:
            del self._pending[place]
