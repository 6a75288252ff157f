"""Transactions of the ledger: move stake, bond it, take it back, return from jail.

Bodies of different kinds can have the same fields, so each kind is signed under a name of its own: a signed
bond is not a signed unbond.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from p2pfed.types.message import Amount, PublicKey, Signature, SignedMessage

Nonce = Annotated[int, msgspec.Meta(ge=0, le=1 << 60)]


class Transfer(SignedMessage, frozen=True, array_like=True, forbid_unknown_fields=True, tag=10):
    """Move `amount`; half of `fee` is burned, the proposer gets the rest; `nonce` counts from 0."""

    KIND: ClassVar[str] = "tx"

    sender: PublicKey
    recipient: PublicKey
    amount: Amount
    fee: Amount
    nonce: Nonce
    signature: Signature


class Bond(SignedMessage, frozen=True, array_like=True, forbid_unknown_fields=True, tag=16):
    """Put `amount` of the balance at stake: it votes and trains as soon as the set may change so far."""

    KIND: ClassVar[str] = "bond"

    sender: PublicKey
    amount: Amount
    fee: Amount
    nonce: Nonce
    signature: Signature


class Unbond(SignedMessage, frozen=True, array_like=True, forbid_unknown_fields=True, tag=17):
    """Take `amount` of the bond home: it leaves the vote as the set may change, then waits to be free."""

    KIND: ClassVar[str] = "unbond"

    sender: PublicKey
    amount: Amount
    fee: Amount
    nonce: Nonce
    signature: Signature


class Unjail(SignedMessage, frozen=True, array_like=True, forbid_unknown_fields=True, tag=18):
    """Vote again after a jail: the sender says that it is back."""

    KIND: ClassVar[str] = "unjail"

    sender: PublicKey
    fee: Amount
    nonce: Nonce
    signature: Signature


Transaction = Transfer | Bond | Unbond | Unjail


def cost_of(transaction: Transaction) -> int:
    """Return what the sender's balance must hold."""
    return transaction.fee + (transaction.amount if isinstance(transaction, Transfer | Bond) else 0)
