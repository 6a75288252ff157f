"""Certificates: quorums of signatures that can be checked by anyone who knows the validator set."""

from __future__ import annotations

from typing import Annotated, final

import msgspec

from p2pfed.types.message import Digest32, Height, Message, Round, Signature, ValidRound
from p2pfed.types.params import VALIDATORS_MAX

Bitmap = Annotated[bytes, msgspec.Meta(max_length=(VALIDATORS_MAX + 7) // 8)]
Signatures = Annotated[tuple[Signature, ...], msgspec.Meta(max_length=VALIDATORS_MAX)]


@final
class PolkaCert(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=6):
    """A quorum of prevotes for one (round, value, valid round); signatures ascending by index."""

    height: Height
    round: Round
    value_id: Digest32
    valid_round: ValidRound
    bitmap: Bitmap
    signatures: Signatures


@final
class CommitCert(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=7):
    """A quorum of precommits for one (round, value): the value is final."""

    height: Height
    round: Round
    value_id: Digest32
    bitmap: Bitmap
    signatures: Signatures
