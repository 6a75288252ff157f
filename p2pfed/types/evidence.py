"""Evidence: self-contained proof that a validator lied (spec/consensus.md section 12)."""

from __future__ import annotations

from p2pfed.types.message import Message
from p2pfed.types.proposal import Proposal
from p2pfed.types.vote import Precommit, Prevote


class DuplicateVote(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=11):
    """E1: two votes of one (validator, height, round, type) with different (value, valid round).

    The one with the smaller canonical bytes comes first, so that one lie has one encoding.
    """

    first: Prevote | Precommit
    second: Prevote | Precommit


class DuplicateProposal(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=12):
    """E3: two proposals of one (height, round) with different (value, valid round); smaller bytes first."""

    first: Proposal
    second: Proposal


Evidence = DuplicateVote | DuplicateProposal
