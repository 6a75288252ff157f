"""What is refused at the door."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace
from support.consensus import CHAIN_ID, Committee

from p2pfed.consensus.admission import Admission
from p2pfed.errors import (
    BadSignature,
    InvalidCertificate,
    MalformedMessage,
    OutOfBounds,
    PeerFault,
    WrongHeight,
)
from p2pfed.primitives.digest import sha256
from p2pfed.types.params import ROUNDS_AHEAD_MAX
from p2pfed.types.vote import Vote
from p2pfed.types.wire import ProposalMessage

FOUR = Committee()
DOOR = Admission(CHAIN_ID, 1, FOUR.validators)
HEADER = FOUR.header()
X = HEADER.value_id


def test_a_vote_of_our_height_and_a_near_round_is_let_in() -> None:
    for round_ in (0, 3, 3 + ROUNDS_AHEAD_MAX):
        DOOR.verify_vote_place(FOUR.prevote("A", round_, None), 3)
        DOOR.verify_vote_place(FOUR.precommit("A", round_, X), 3)
    DOOR.verify_vote_place(FOUR.prevote("A", 3, X, 2), 3)
    DOOR.verify_vote_signature(FOUR.prevote("A", 3, X, 2))


@pytest.mark.parametrize(
    ("vote", "fault"),
    [
        (replace(FOUR.prevote("A", 0, X), height=2), WrongHeight),
        (replace(FOUR.precommit("A", 0, X), height=0), WrongHeight),
        (FOUR.prevote("A", 4 + ROUNDS_AHEAD_MAX, X), WrongHeight),
        (FOUR.precommit("A", 4 + ROUNDS_AHEAD_MAX, X), WrongHeight),
        (replace(FOUR.prevote("A", 0, X), validator_index=4), OutOfBounds),
        (replace(FOUR.precommit("A", 0, X), validator_index=65535), OutOfBounds),
        (FOUR.prevote("A", 3, None, 1), MalformedMessage),
        (FOUR.prevote("A", 3, X, 3), MalformedMessage),
        (FOUR.prevote("A", 3, X, 4), MalformedMessage),
    ],
)
def test_a_vote_out_of_place_is_refused(vote: Vote, fault: type[PeerFault]) -> None:
    with pytest.raises(fault):
        DOOR.verify_vote_place(vote, 3)


def test_a_vote_signed_by_another_or_for_another_network_is_refused() -> None:
    for vote in (FOUR.prevote("A", 0, X), FOUR.precommit("A", 0, X)):
        with pytest.raises(BadSignature):
            DOOR.verify_vote_signature(replace(vote, validator_index=FOUR.index("B")))
        with pytest.raises(BadSignature):
            Admission(sha256(b"other"), 1, FOUR.validators).verify_vote_signature(vote)


def test_a_good_proposal_is_let_in_with_and_without_polka() -> None:
    polka = FOUR.polka("ABC", 0, X)
    for message in (
        FOUR.proposal(0, HEADER),
        FOUR.proposal(2, HEADER, 0),
        FOUR.proposal(2, HEADER, 0, polka),
    ):
        DOOR.verify_proposal_place(message.proposal, 0)
        DOOR.verify_proposal_content(message)
        DOOR.verify_attached_polka(message)


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        (FOUR.proposal(0, HEADER, by="B"), OutOfBounds),
        (FOUR.proposal(1, HEADER, by="A"), OutOfBounds),
        (FOUR.proposal(9, HEADER), WrongHeight),
        (FOUR.proposal(1, HEADER, 1), MalformedMessage),
        (Committee(height=2).proposal(0, Committee(height=2).header()), WrongHeight),
    ],
)
def test_a_proposal_out_of_place_is_refused(message: ProposalMessage, fault: type[PeerFault]) -> None:
    with pytest.raises(fault):
        DOOR.verify_proposal_place(message.proposal, 0)


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda: replace(FOUR.proposal(0, HEADER), header=FOUR.header(salt=1)), MalformedMessage),
        (lambda: FOUR.proposal(0, replace(HEADER, chain_id=sha256(b"other"))), MalformedMessage),
        (lambda: FOUR.proposal(0, replace(HEADER, height=2)), MalformedMessage),
        (lambda: spoilt(), BadSignature),
    ],
)
def test_a_proposal_with_another_header_or_signature_is_refused(
    make: Callable[[], ProposalMessage], fault: type[PeerFault]
) -> None:
    with pytest.raises(fault):
        DOOR.verify_proposal_content(make())


def spoilt() -> ProposalMessage:
    message = FOUR.proposal(0, HEADER)
    return replace(message, proposal=replace(message.proposal, signature=bytes(64)))


@pytest.mark.parametrize(
    "polka",
    [
        FOUR.polka("ABC", 1, X),
        FOUR.polka("ABC", 0, sha256(b"Y")),
        Committee(height=2).polka("ABC", 0, X),
        replace(FOUR.polka("ABC", 0, X), signatures=(bytes(64),) * 3),
    ],
)
def test_a_polka_that_is_not_the_proposals_is_refused(polka: object) -> None:
    with pytest.raises(InvalidCertificate):
        DOOR.verify_attached_polka(FOUR.proposal(2, HEADER, 0, polka))


def test_a_fresh_proposal_carries_no_polka() -> None:
    with pytest.raises(InvalidCertificate):
        DOOR.verify_attached_polka(FOUR.proposal(2, HEADER, -1, FOUR.polka("ABC", 0, X)))
