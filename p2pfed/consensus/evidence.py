"""Make and check the evidence of votes, proposals and availability votes. Trainers' is `chain.evidence`'s."""

from __future__ import annotations

from typing import TypeVar

from p2pfed.errors import BadSignature, MalformedMessage, OutOfBounds
from p2pfed.primitives import codec
from p2pfed.types.availability import Avail
from p2pfed.types.evidence import Amnesia, DuplicateAvail, DuplicateProposal, DuplicateVote, VotingEvidence
from p2pfed.types.message import SignedMessage
from p2pfed.types.proposal import Proposal
from p2pfed.types.validators import ValidatorSet
from p2pfed.types.vote import Vote

Claim = tuple[bytes | None, int]
S = TypeVar("S", bound=SignedMessage)


def claim_of(message: Vote | Proposal) -> Claim:
    """Return (value, valid round): what a validator may say only one of per height, round and kind."""
    return message.value_id, message.valid_round


def duplicate_vote(first: Vote, second: Vote) -> DuplicateVote:
    """Return the E1 evidence of two verified votes."""
    assert type(first) is type(second)
    assert claim_of(first) != claim_of(second)
    return DuplicateVote(*in_order(first, second))


def duplicate_proposal(first: Proposal, second: Proposal) -> DuplicateProposal:
    """Return the E3 evidence of two verified proposals."""
    assert claim_of(first) != claim_of(second)
    return DuplicateProposal(*in_order(first, second))


def duplicate_avail(first: Avail, second: Avail) -> DuplicateAvail:
    """Return the E7 evidence of two verified availability votes."""
    assert first.body() != second.body()
    return DuplicateAvail(*in_order(first, second))


def in_order(first: S, second: S) -> tuple[S, S]:
    """Return both messages, smaller bytes first."""
    return (first, second) if codec.encode(first) < codec.encode(second) else (second, first)


def accused_index(evidence: VotingEvidence) -> int:
    """Return the place of the accused among the validators of the evidence's height; nothing is checked."""
    return _messages(evidence)[0].validator_index


def verify_evidence(evidence: VotingEvidence, validators: ValidatorSet, chain_id: bytes) -> int:
    """Return the index of the culprit in `validators`, the set of the evidence's height.

    Raises:
        PeerFault: It proves nothing: no such validator, not two contradicting messages of one sender,
            not in canonical order, or a signature that does not verify.
    """
    first, second = _messages(evidence)
    index = first.validator_index
    if index >= len(validators):
        raise OutOfBounds(f"validator {index} of {len(validators)}")
    for name in ("height", "validator_index"):
        _verify_same(first, second, name)
    if isinstance(evidence, Amnesia):
        _verify_forgotten(evidence)
    else:
        _verify_contradiction(first, second)
    for message in (first, second):
        if not message.is_signed_by(validators.validators[index].key, chain_id):
            raise BadSignature(f"evidence is not signed by validator {index}")
    return index


def _messages(evidence: VotingEvidence) -> tuple[Vote | Proposal | Avail, Vote | Proposal | Avail]:
    if isinstance(evidence, Amnesia):
        return evidence.precommit, evidence.prevote
    return evidence.first, evidence.second


def _verify_contradiction(first: Vote | Proposal | Avail, second: Vote | Proposal | Avail) -> None:
    """E1, E3, E7: two different messages of one place."""
    if type(first) is not type(second):
        raise MalformedMessage("a prevote and a precommit don't contradict each other")
    if isinstance(first, Avail) or isinstance(second, Avail):
        _verify_same(first, second, "attempt")
        is_same = first.body() == second.body()
    else:
        _verify_same(first, second, "round")
        is_same = claim_of(first) == claim_of(second)
    if is_same:
        raise MalformedMessage("both messages say the same")
    if codec.encode(first) >= codec.encode(second):
        raise MalformedMessage("evidence is not in canonical order")


def _verify_forgotten(evidence: Amnesia) -> None:
    """E2: by the strict rule nobody prevotes with a valid round before the round of its own precommit."""
    precommit, prevote = evidence.precommit, evidence.prevote
    if precommit.value_id is None or prevote.value_id is None:
        raise MalformedMessage("a vote for nothing forgets nothing")
    if not prevote.valid_round < precommit.round < prevote.round:
        raise MalformedMessage(
            f"a precommit of round {precommit.round} is not between the prevote's valid round "
            f"{prevote.valid_round} and its round {prevote.round}"
        )


def _verify_same(first: SignedMessage, second: SignedMessage, name: str) -> None:
    ours, theirs = getattr(first, name), getattr(second, name)
    if ours != theirs:
        raise MalformedMessage(f"{name} {ours} against {theirs}")
