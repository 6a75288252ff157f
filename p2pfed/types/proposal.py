"""A proposal: the proposer's signed word that this value is the one of a round."""

from __future__ import annotations

from typing import ClassVar, final

from p2pfed.types.message import Digest32, Height, Index, Round, Signature, SignedMessage, ValidRound


@final
class Proposal(SignedMessage, frozen=True, array_like=True, forbid_unknown_fields=True, tag=8):
    """`value_id = H("hdr", header)` and nothing else; the header travels beside it (`types.wire`)."""

    KIND: ClassVar[str] = "proposal"

    height: Height
    round: Round
    value_id: Digest32
    valid_round: ValidRound
    validator_index: Index
    signature: Signature
