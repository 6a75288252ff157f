"""Prevotes and precommits."""

from __future__ import annotations

from typing import ClassVar, final

from p2pfed.types.message import Digest32, Height, Index, Round, Signature, SignedMessage, ValidRound


@final
class Prevote(SignedMessage, frozen=True, array_like=True, forbid_unknown_fields=True, tag=4):
    """`value_id` None is nil; `valid_round` is -1 then, else the message is malformed (engine checks)."""

    KIND: ClassVar[str] = "prevote"

    height: Height
    round: Round
    value_id: Digest32 | None
    valid_round: ValidRound
    validator_index: Index
    signature: Signature


@final
class Precommit(SignedMessage, frozen=True, array_like=True, forbid_unknown_fields=True, tag=5):
    """`value_id` None is nil."""

    KIND: ClassVar[str] = "precommit"
    valid_round: ClassVar[int] = -1  # It names none: all that it claims is a value.

    height: Height
    round: Round
    value_id: Digest32 | None
    validator_index: Index
    signature: Signature


Vote = Prevote | Precommit
