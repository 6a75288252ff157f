"""Evidence: who is convicted, and who can't be framed."""

from __future__ import annotations

import pytest
from ecdsa import SECP256k1, SigningKey
from ecdsa.util import sigencode_string_canonize
from msgspec.structs import replace
from support.consensus import CHAIN_ID, Committee

from p2pfed.consensus.evidence import duplicate_avail, duplicate_proposal, duplicate_vote, verify_evidence
from p2pfed.errors import BadSignature, MalformedMessage, OutOfBounds, PeerFault
from p2pfed.primitives.digest import sha256
from p2pfed.types.availability import Avail
from p2pfed.types.evidence import Amnesia, DuplicateAvail, DuplicateProposal, DuplicateVote, Evidence
from p2pfed.types.vote import Precommit, Prevote

FOUR, NEXT = Committee(), Committee(height=2)
X, Y = sha256(b"X"), sha256(b"Y")


def culprit(evidence: Evidence) -> str:
    return FOUR.name(verify_evidence(evidence, FOUR.validators, CHAIN_ID))


def test_two_votes_of_one_place_convict_their_sender_in_one_spelling() -> None:
    pairs = [
        (FOUR.prevote("B", 2, X), FOUR.prevote("B", 2, Y)),
        (FOUR.prevote("B", 2, X), FOUR.prevote("B", 2, None)),
        (FOUR.prevote("B", 2, X, 0), FOUR.prevote("B", 2, X, 1)),
        (FOUR.precommit("B", 2, X), FOUR.precommit("B", 2, None)),
    ]
    for first, second in pairs:
        evidence = duplicate_vote(first, second)
        assert evidence == duplicate_vote(second, first)
        assert culprit(evidence) == "B"
        with pytest.raises(MalformedMessage, match="order"):
            culprit(DuplicateVote(evidence.second, evidence.first))


def test_two_proposals_of_one_round_convict_their_sender() -> None:
    header = FOUR.header()
    proposals = [FOUR.proposal(4, header, valid_round).proposal for valid_round in (-1, 2)] + [
        FOUR.proposal(4, FOUR.header(salt=1)).proposal
    ]
    for first in proposals:
        for second in proposals:
            if first is not second:
                evidence = duplicate_proposal(first, second)
                assert evidence == duplicate_proposal(second, first)
                assert culprit(evidence) == "A"
    with pytest.raises(MalformedMessage, match="order"):
        culprit(DuplicateProposal(evidence.second, evidence.first))


def test_an_honest_voter_can_not_be_framed() -> None:
    vote = FOUR.prevote("B", 2, X)
    others = [
        FOUR.prevote("B", 2, X),
        FOUR.prevote("B", 3, Y),
        FOUR.prevote("C", 2, Y),
        FOUR.precommit("B", 2, Y),
        NEXT.prevote(NEXT.name(FOUR.index("B")), 2, Y),  # The same key at another height.
        replace(FOUR.prevote("B", 2, Y), signature=bytes(64)),
        replace(FOUR.prevote("C", 2, Y), validator_index=FOUR.index("B")),
    ]
    for other in others:
        for pair in ((vote, other), (other, vote)):
            with pytest.raises(PeerFault):
                culprit(DuplicateVote(*pair))


def test_a_vote_in_the_name_of_another_convicts_nobody() -> None:
    named_c = replace(FOUR.prevote("B", 2, Y), validator_index=FOUR.index("C"))
    named_c = replace(named_c, signature=FOUR.key("B").sign(named_c.digest(CHAIN_ID)))
    for pair in ((FOUR.prevote("B", 2, X), named_c), (named_c, FOUR.prevote("B", 2, X))):
        with pytest.raises(MalformedMessage, match="validator_index"):
            culprit(DuplicateVote(*pair))


def test_one_vote_signed_twice_is_no_lie() -> None:
    vote = FOUR.prevote("B", 2, X)
    key = SigningKey.from_string(FOUR.key("B").secret, curve=SECP256k1)
    digest = vote.digest(CHAIN_ID)
    again = replace(vote, signature=key.sign_digest(digest, sigencode=sigencode_string_canonize, k=12345))
    assert again.is_signed_by(FOUR.key("B").public, CHAIN_ID)
    assert again != vote
    for pair in ((vote, again), (again, vote)):
        with pytest.raises(MalformedMessage, match="same"):
            culprit(DuplicateVote(*pair))


def test_each_signature_is_checked() -> None:
    evidence = duplicate_vote(FOUR.prevote("B", 2, X), FOUR.prevote("B", 2, Y))
    for name in ("first", "second"):
        spoilt = replace(getattr(evidence, name), signature=bytes(64))
        with pytest.raises(BadSignature):
            culprit(replace(evidence, **{name: spoilt}))


def test_a_validator_that_does_not_exist_is_refused() -> None:
    first, second = (replace(FOUR.prevote("B", 2, value), validator_index=4) for value in (X, Y))
    with pytest.raises(OutOfBounds):
        culprit(DuplicateVote(first, second))


def test_evidence_of_another_network_is_worth_nothing() -> None:
    evidence = duplicate_vote(FOUR.prevote("B", 2, X), FOUR.prevote("B", 2, Y))
    with pytest.raises(BadSignature):
        verify_evidence(evidence, FOUR.validators, sha256(b"other"))


def test_a_prevote_that_forgets_a_precommit_convicts_its_sender() -> None:
    for value, valid_round in ((Y, -1), (Y, 1), (X, -1)):
        evidence = Amnesia(FOUR.precommit("B", 2, X), FOUR.prevote("B", 3, value, valid_round))
        assert culprit(evidence) == "B"
        assert evidence.height == 1


@pytest.mark.parametrize(
    ("precommit", "prevote"),
    [
        (FOUR.precommit("B", 2, X), FOUR.prevote("B", 3, Y, 2)),  # Unlocked by a polka of that round.
        (FOUR.precommit("B", 2, X), FOUR.prevote("B", 2, Y, -1)),
        (FOUR.precommit("B", 2, X), FOUR.prevote("B", 1, Y, -1)),
        (FOUR.precommit("B", 2, None), FOUR.prevote("B", 3, Y, -1)),
        (FOUR.precommit("B", 2, X), FOUR.prevote("B", 3, None)),
        (FOUR.precommit("B", 2, X), FOUR.prevote("C", 3, Y)),
        (FOUR.precommit("B", 2, X), NEXT.prevote("B", 3, Y)),
    ],
)
def test_nobody_is_framed_for_amnesia(precommit: Precommit, prevote: Prevote) -> None:
    with pytest.raises(PeerFault):
        culprit(Amnesia(precommit, prevote))


def test_amnesia_needs_both_signatures() -> None:
    precommit, prevote = FOUR.precommit("B", 2, X), FOUR.prevote("B", 3, Y)
    for forged in (
        Amnesia(replace(precommit, value_id=Y), prevote),
        Amnesia(precommit, replace(prevote, value_id=X)),
    ):
        with pytest.raises(BadSignature):
            culprit(forged)


def avail(name: str, count: int = 1, height: int = 1, attempt: int = 0) -> Avail:
    unsigned = Avail(height, attempt, FOUR.index(name), X, count, 5, bytes(64))
    return replace(unsigned, signature=FOUR.key(name).sign(unsigned.digest(CHAIN_ID)))


def test_two_availability_votes_of_one_attempt_convict_in_one_spelling() -> None:
    evidence = duplicate_avail(avail("B", 1), avail("B", 2))
    assert evidence == duplicate_avail(avail("B", 2), avail("B", 1))
    assert culprit(evidence) == "B"
    with pytest.raises(MalformedMessage, match="order"):
        culprit(DuplicateAvail(evidence.second, evidence.first))


@pytest.mark.parametrize(
    "other",
    [avail("B"), avail("C", 2), avail("B", 2, height=2), avail("B", 2, attempt=1)],
    ids=["the same", "of another", "of another height", "of another attempt"],
)
def test_nobody_is_framed_for_two_availability_votes(other: Avail) -> None:
    with pytest.raises(PeerFault):
        culprit(DuplicateAvail(avail("B"), other))
    resigned = replace(avail("B", 2), signature=avail("B").signature)
    with pytest.raises(BadSignature):
        culprit(duplicate_avail(avail("B"), resigned))
