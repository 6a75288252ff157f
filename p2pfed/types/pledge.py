"""A trainer's word that it has an update, before anybody may see what is in it."""

from __future__ import annotations

from typing import ClassVar

from p2pfed.types.message import Digest32, Height, PublicKey, Signature, SignedMessage


class Pledge(SignedMessage, frozen=True, array_like=True, forbid_unknown_fields=True, tag=19):
    """`trainer` has signed the update `update_id` and will show it; nobody can name that id without it."""

    KIND: ClassVar[str] = "pledge"

    trainer: PublicKey
    base_height: Height
    update_id: Digest32
    signature: Signature
