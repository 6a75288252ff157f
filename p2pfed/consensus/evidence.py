"""Make and check evidence: self-contained proof that a validator lied."""

from __future__ import annotations

from p2pfed.errors import BadSignature, MalformedMessage, OutOfBounds
from p2pfed.primitives import codec
from p2pfed.types.evidence import DuplicateProposal, DuplicateVote, Evidence
from p2pfed.types.proposal import Proposal
from p2pfed.types.validators import ValidatorSet
from p2pfed.types.vote import Precommit, Vote

Claim = tuple[bytes | None, int]


def claim_of(message: Vote | Proposal) -> Claim:
    """Return (value, valid round): what a validator may say only one of per height, round and kind."""
    return message.value_id, -1 if isinstance(message, Precommit) else message.valid_round


def duplicate_vote(first: Vote, second: Vote) -> DuplicateVote:
    """Return the E1 evidence of two verified votes, smaller bytes first."""
    assert type(first) is type(second)
    assert claim_of(first) != claim_of(second)
    return DuplicateVote(first, second) if _is_ordered(first, second) else DuplicateVote(second, first)


def duplicate_proposal(first: Proposal, second: Proposal) -> DuplicateProposal:
    """Return the E3 evidence of two verified proposals, smaller bytes first."""
    assert claim_of(first) != claim_of(second)
    ordered = (first, second) if _is_ordered(first, second) else (second, first)
    return DuplicateProposal(*ordered)


def verify_evidence(evidence: Evidence, validators: ValidatorSet, chain_id: bytes) -> int:
    """Return the index of the culprit in `validators`, the set of the evidence's height.

    Raises:
        PeerFault: It proves nothing: no such validator, not two contradicting messages of one place,
            not in canonical order, or a signature that does not verify.
    """
    first, second = evidence.first, evidence.second
    index = first.validator_index
    if index >= len(validators):
        raise OutOfBounds(f"validator {index} of {len(validators)}")
    if type(first) is not type(second):
        raise MalformedMessage("a prevote and a precommit don't contradict each other")
    for name in ("height", "round", "validator_index"):
        if getattr(first, name) != getattr(second, name):
            raise MalformedMessage(f"{name} {getattr(first, name)} against {getattr(second, name)}")
    if claim_of(first) == claim_of(second):
        raise MalformedMessage("both messages say the same")
    if not _is_ordered(first, second):
        raise MalformedMessage("evidence is not in canonical order")
    for message in (first, second):
        if not message.is_signed_by(validators.validators[index].key, chain_id):
            raise BadSignature(f"evidence is not signed by validator {index}")
    return index


def _is_ordered(first: Vote | Proposal, second: Vote | Proposal) -> bool:
    return codec.encode(first) < codec.encode(second)
