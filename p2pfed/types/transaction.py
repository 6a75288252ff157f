"""Transactions of the ledger: for now a transfer."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from p2pfed.types.message import Amount, PublicKey, Signature, SignedMessage


class Transfer(SignedMessage, frozen=True, array_like=True, forbid_unknown_fields=True, tag=10):
    """Move `amount`; half of `fee` is burned, the proposer gets the rest; `nonce` counts from 0."""

    KIND: ClassVar[str] = "tx"

    sender: PublicKey
    recipient: PublicKey
    amount: Amount
    fee: Amount
    nonce: Annotated[int, msgspec.Meta(ge=0, le=1 << 60)]
    signature: Signature
