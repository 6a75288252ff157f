"""Transactions that wait for a block: bounded, in the order of sender and nonce."""

from __future__ import annotations

from p2pfed.chain.state import ChainState
from p2pfed.errors import BadSignature, InvalidTransaction, OutOfBounds
from p2pfed.ledger.execute import execute_transaction
from p2pfed.types.params import TRANSACTION_POOL_MAX, TRANSACTIONS_PER_BLOCK_MAX
from p2pfed.types.transaction import Transaction, Unjail, cost_of

# One sender can't fill the pool: this many nonces ahead of its account at most.
TRANSACTIONS_PER_SENDER_MAX = 64
TRANSACTIONS_TOLD_MAX = 64


class TransactionPool:
    """Pending transactions by (sender, nonce); the first one seen of a nonce stays."""

    def __init__(self) -> None:
        self._pending: dict[tuple[bytes, int], Transaction] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, transaction: Transaction, state: ChainState) -> bool:
        """Verify and keep a transaction; False where it is known, stale, too far ahead or the pool is full.

        Raises:
            PeerFault: The signature is wrong or it moves nothing.
        """
        place = (transaction.sender, transaction.nonce)
        account = state.ledger.account(transaction.sender)
        if place in self._pending or account is None or len(self._pending) >= TRANSACTION_POOL_MAX:
            return False
        if not account.nonce <= transaction.nonce < account.nonce + TRANSACTIONS_PER_SENDER_MAX:
            return False
        if not isinstance(transaction, Unjail) and transaction.amount + transaction.fee == 0:
            raise OutOfBounds(f"a {type(transaction).KIND} of nothing")
        if not transaction.is_signed_by(transaction.sender, state.chain_id):
            raise BadSignature(f"{type(transaction).KIND} of {transaction.sender.hex()[:12]}…")
        self._pending[place] = transaction
        return True

    def waiting(self) -> tuple[Transaction, ...]:
        """Return the first that wait, by sender and nonce: what a peer that connects is told."""
        return tuple(self._pending[place] for place in sorted(self._pending)[:TRANSACTIONS_TOLD_MAX])

    def next_nonce(self, key: bytes, nonce: int) -> int:
        """Return the nonce that `key` should use next, its account being at `nonce`."""
        while (key, nonce) in self._pending:
            nonce += 1
        return nonce

    def select(self, state: ChainState) -> tuple[Transaction, ...]:
        """Return transactions that can run on `state` in this order; each sender pays only what it has.

        What the ledger's other rules refuse is left to the proposer's own check.
        """
        chosen: list[Transaction] = []
        spendable: dict[bytes, tuple[int, int]] = {}
        for place in sorted(self._pending):
            transaction = self._pending[place]
            account = state.ledger.account(transaction.sender)
            if account is None:
                continue
            nonce, balance = spendable.get(transaction.sender, (account.nonce, account.balance))
            cost = cost_of(transaction)
            if transaction.nonce == nonce and cost <= balance and len(chosen) < TRANSACTIONS_PER_BLOCK_MAX:
                chosen.append(transaction)
                spendable[transaction.sender] = (nonce + 1, balance - cost)
        return tuple(chosen)

    def prune(self, state: ChainState) -> None:
        """Drop what `state` has executed or overtaken, and what is next and could not run.

        A transaction that may run later (a jail that is not over) has to be sent again: it would else keep
        its nonce from all that its sender sends after it.
        """
        context = state.trial_context
        for place, transaction in tuple(self._pending.items()):
            account = state.ledger.account(transaction.sender)
            if account is None or transaction.nonce < account.nonce:
                del self._pending[place]
            elif transaction.nonce == account.nonce:
                try:
                    execute_transaction(state.ledger, transaction, context)
                except InvalidTransaction:
                    del self._pending[place]
