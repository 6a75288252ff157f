"""What a key may sign, place by place."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from support.consensus import CHAIN_ID, Committee

from p2pfed.consensus.signer import (
    RECORD_BYTES_MAX,
    Refused,
    SignAvail,
    Signed,
    SignPrecommit,
    SignPrevote,
    SignProposal,
    SignRecord,
    SignRequest,
    SignUpdate,
    decide,
    decode_record,
    initial_record,
)
from p2pfed.errors import MalformedMessage
from p2pfed.primitives.codec import encode
from p2pfed.primitives.digest import sha256
from p2pfed.types.availability import list_hash

FOUR = Committee(height=5)
KEY, INDEX = FOUR.key("A"), FOUR.index("A")
HEADER, OTHER = FOUR.header(), FOUR.header(salt=1)
X, Y = HEADER.value_id, sha256(b"Y")


def prevote(round_: int, value_id: bytes | None, valid_round: int = -1, height: int = 5) -> SignPrevote:
    return SignPrevote(height, round_, value_id, valid_round, INDEX)


def lock(round_: int) -> SignPrecommit:
    return SignPrecommit(5, round_, X, INDEX, FOUR.polka("ABC", round_, X), HEADER)


def nil_precommit(round_: int, height: int = 5) -> SignPrecommit:
    return SignPrecommit(height, round_, None, INDEX, None, None)


def proposal(round_: int) -> SignProposal:
    return SignProposal(HEADER, round_, -1, INDEX, None)


def avail(height: int, attempt: int, ids: tuple[bytes, ...] = (X,)) -> SignAvail:
    return SignAvail(height, attempt, INDEX, ids, 77)


def update(base_height: int, root: bytes = X) -> SignUpdate:
    return SignUpdate(base_height, X, 8, root, 0, 1)


def signed(record: SignRecord, request: SignRequest) -> SignRecord:
    answer = decide(record, request, KEY, CHAIN_ID)
    assert isinstance(answer, Signed)
    return answer.record


def after(*requests: SignRequest) -> SignRecord:
    record = initial_record()
    for request in requests:
        record = signed(record, request)
    return record


def is_refused(record: SignRecord, request: SignRequest) -> bool:
    return isinstance(decide(record, request, KEY, CHAIN_ID), Refused)


def test_every_kind_is_signed_once_and_then_repeated_whatever_is_asked() -> None:
    """R2, and R4, R7 for the slots of their own."""
    cases = [
        (proposal(0), SignProposal(FOUR.header(salt=1), 0, -1, INDEX, None)),
        (prevote(0, X), prevote(0, None)),
        (nil_precommit(0), lock(0)),
        (avail(5, 0), avail(5, 0, ())),
        (update(4), update(4, Y)),
    ]
    for request, other in cases:
        first = decide(initial_record(), request, KEY, CHAIN_ID)
        assert isinstance(first, Signed)
        assert first.is_new
        for again in (request, other):
            second = decide(first.record, again, KEY, CHAIN_ID)
            assert second == Signed(first.record, first.message, False)


def test_what_is_signed_verifies_and_says_what_was_asked() -> None:
    vote = after(prevote(3, X, 2)).prevote
    assert vote == FOUR.prevote("A", 3, X, 2)
    assert vote.is_signed_by(KEY.public, CHAIN_ID)
    assert after(lock(3)).precommit == FOUR.precommit("A", 3, X)
    assert after(SignProposal(HEADER, 0, -1, INDEX, None)).proposal == FOUR.proposal(0, HEADER, by="A")
    said = after(avail(5, 1)).avail
    assert said is not None
    assert said.update_ids == (X,)
    assert (said.avail.height, said.avail.attempt, said.avail.time_ms) == (5, 1, 77)
    assert (said.avail.list_hash, said.avail.count) == (list_hash((X,)), 1)
    assert said.avail.is_signed_by(KEY.public, CHAIN_ID)
    trainer = after(update(4)).trainer
    assert trainer is not None
    assert (trainer.trainer, trainer.base_height, trainer.payload_bytes) == (KEY.public, 4, 8)
    assert trainer.is_signed_by(KEY.public, CHAIN_ID)


@pytest.mark.parametrize(
    ("done", "asked"),
    [
        (prevote(2, None), proposal(2)),
        (nil_precommit(2), proposal(2)),
        (nil_precommit(2), prevote(2, None)),
        (proposal(2), nil_precommit(1)),
        (proposal(2), prevote(1, None)),
        (prevote(2, None), proposal(1)),
        (prevote(0, None, height=6), nil_precommit(9)),
        (prevote(0, None, height=6), proposal(9)),
    ],
)
def test_nothing_is_signed_below_the_record(done: SignRequest, asked: SignRequest) -> None:
    """R1."""
    assert is_refused(after(done), asked)


def test_a_prevote_below_the_lock_is_refused_and_nil_is_not() -> None:
    """R3."""
    locked = after(lock(2))
    assert is_refused(locked, prevote(4, Y, 1))
    assert is_refused(locked, prevote(4, Y, -1))
    assert is_refused(locked, prevote(4, X, 1))  # No escape for the locked value itself.
    assert not is_refused(locked, prevote(4, Y, 2))
    assert not is_refused(locked, prevote(4, None))
    assert not is_refused(locked, prevote(0, Y, -1, height=6))  # Locks end with their height.


def test_the_lock_is_recorded_with_what_is_needed_to_propose_it_again() -> None:
    record = after(lock(2), prevote(3, None), nil_precommit(3))
    assert (record.lock_round, record.lock_header) == (2, HEADER)
    assert record.lock_cert == FOUR.polka("ABC", 2, X)
    assert after(lock(2), prevote(0, None, height=6)).lock_cert is None
    assert after(lock(2), prevote(0, None, height=6)).lock_header is None
    assert after(lock(2), prevote(0, None, height=6)).lock_round == -1


def test_a_precommit_needs_the_polka_and_header_of_its_own_place() -> None:
    good = lock(2)
    bad = [
        SignPrecommit(5, 2, X, INDEX, None, HEADER),
        SignPrecommit(5, 2, X, INDEX, good.lock_cert, None),
        SignPrecommit(5, 3, X, INDEX, good.lock_cert, HEADER),
        SignPrecommit(6, 2, X, INDEX, good.lock_cert, HEADER),
        SignPrecommit(5, 2, Y, INDEX, good.lock_cert, HEADER),
        SignPrecommit(5, 2, X, INDEX, good.lock_cert, FOUR.header(salt=1)),
        SignPrecommit(5, 2, OTHER.value_id, INDEX, good.lock_cert, OTHER),
    ]
    assert all(is_refused(initial_record(), request) for request in bad)
    assert not is_refused(initial_record(), good)


def test_messages_of_a_round_stay_until_the_next() -> None:
    record = after(proposal(2), prevote(2, X), lock(2))
    assert None not in (record.proposal, record.prevote, record.precommit)
    moved = signed(record, prevote(3, None))
    assert (moved.proposal, moved.precommit) == (None, None)
    assert moved.prevote == FOUR.prevote("A", 3, None)
    same_round_next_height = signed(record, prevote(2, None, height=6))
    assert (same_round_next_height.proposal, same_round_next_height.precommit) == (None, None)


def test_an_earlier_message_of_the_same_round_is_repeated() -> None:
    record = after(proposal(2), prevote(2, X), lock(2))
    for request in (proposal(2), prevote(2, None)):
        answer = decide(record, request, KEY, CHAIN_ID)
        assert isinstance(answer, Signed)
        assert (answer.is_new, answer.record) == (False, record)


def test_availability_votes_only_go_up() -> None:
    """R4."""
    record = after(avail(5, 1))
    assert is_refused(record, avail(5, 0))
    assert is_refused(record, avail(4, 1))
    assert not is_refused(record, avail(6, 0))
    assert is_refused(after(avail(5, 1), avail(6, 0)), avail(5, 1))


def test_a_trainer_never_signs_two_updates_of_one_height_nor_an_older_one() -> None:
    """R7."""
    record = after(update(4))
    assert is_refused(record, update(3))
    assert signed(record, update(5)).trainer != record.trainer


def test_the_slots_do_not_disturb_each_other() -> None:
    record = after(lock(2), avail(9, 0), update(8))
    assert (record.height, record.round, record.lock_round) == (5, 2, 2)
    assert not is_refused(record, prevote(3, None))
    votes_later = signed(record, prevote(0, None, height=6))
    assert (votes_later.avail, votes_later.trainer) == (record.avail, record.trainer)


def test_a_damaged_record_that_lost_its_message_signs_nothing_in_its_place() -> None:
    lost = replace(after(prevote(2, X)), prevote=None)
    assert is_refused(lost, prevote(2, None))
    assert not is_refused(lost, nil_precommit(2))


def test_a_nil_prevote_with_a_valid_round_is_our_bug() -> None:
    with pytest.raises(AssertionError):
        decide(initial_record(), prevote(2, None, 1), KEY, CHAIN_ID)


def test_the_record_has_one_spelling_and_a_bound() -> None:
    record = after(proposal(2), prevote(2, X), lock(2), avail(5, 0), update(4))
    data = encode(record)
    assert decode_record(data) == record
    for bad in (data + b"\0", data[:-1], b"", bytes(RECORD_BYTES_MAX + 1)):
        with pytest.raises(MalformedMessage):
            decode_record(bad)
