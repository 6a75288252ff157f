"""A transaction of this peer's operator: would the ledger run it, and which nonce is next?"""

from __future__ import annotations

from p2pfed.chain.state import ChainState
from p2pfed.errors import InvalidTransaction
from p2pfed.ledger.execute import execute_transaction
from p2pfed.node.transaction_pool import TransactionPool
from p2pfed.types.transaction import Transaction


def refusal_of(transaction: Transaction, state: ChainState, pool: TransactionPool) -> str:
    """Return why `transaction` can't wait for a block here, one sentence; "" where it can.

    What follows others that wait is judged by the block that runs it.
    """
    account = state.ledger.account(transaction.sender)
    if account is None:
        return (
            f"{transaction.sender.hex()} has no account in this network: somebody who has one can open it "
            f"with `p2pfed transfer {transaction.sender.hex()} AMOUNT`, "
            f"AMOUNT at least {state.genesis.params.bond_min}"
        )
    following = pool.next_nonce(transaction.sender, account.nonce)
    if transaction.nonce != following:
        return f"nonce {transaction.nonce} where {following} is next"
    if not transaction.is_signed_by(transaction.sender, state.chain_id):
        return f"it is not signed by {transaction.sender.hex()} for this network"
    if transaction.nonce == account.nonce:
        try:
            execute_transaction(state.ledger, transaction, state.trial_context)
        except InvalidTransaction as refusal:
            return str(refusal)
    return ""
