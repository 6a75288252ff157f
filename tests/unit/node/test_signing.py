"""The signing hand: what it says is on disk before, and a question asked twice has one answer."""

from __future__ import annotations

from support.chain import private_keys

from p2pfed.consensus.signer import SignAvail, SignPrevote, SignUpdate, initial_record
from p2pfed.node.effects import Effect, Persist
from p2pfed.node.signing import SigningHand
from p2pfed.types.update import CODEC_INT16

CHAIN_ID, VALUE = bytes(range(32)), bytes(32)


def hand(outbox: list[Effect]) -> SigningHand:
    return SigningHand(private_keys(1)[0], CHAIN_ID, initial_record(), outbox)


def test_a_new_word_is_persisted_with_the_record_that_holds_it() -> None:
    outbox: list[Effect] = []
    signing = hand(outbox)
    message = signing.sign(SignPrevote(1, 0, VALUE, -1, 0))
    assert outbox == [Persist(signing.record)]
    assert signing.record.prevote == message
    assert message is not None


def test_what_was_said_is_said_again_without_a_write() -> None:
    outbox: list[Effect] = []
    signing = hand(outbox)
    first = signing.sign(SignPrevote(1, 0, VALUE, -1, 0))
    outbox.clear()
    assert signing.sign(SignPrevote(1, 0, None, -1, 0)) == first
    assert outbox == []


def test_a_refusal_says_nothing_and_writes_nothing() -> None:
    outbox: list[Effect] = []
    signing = hand(outbox)
    signing.sign(SignPrevote(2, 0, VALUE, -1, 0))
    record = signing.record
    outbox.clear()
    assert signing.sign(SignPrevote(1, 0, VALUE, -1, 0)) is None
    assert outbox == []
    assert signing.record is record


def test_the_words_of_a_height_are_what_was_said_of_it_last() -> None:
    signing = hand([])
    assert signing.words(1, 0) == ()
    avail = signing.sign(SignAvail(1, 0, 0, (), 5))
    prevote = signing.sign(SignPrevote(1, 0, VALUE, -1, 0))
    assert signing.words(1, 0) == (avail, prevote)
    later = signing.sign(SignPrevote(1, 1, None, -1, 0))
    assert signing.words(1, 0) == (avail, later)
    update = signing.sign(SignUpdate(0, VALUE, 2, VALUE, CODEC_INT16, 1))
    assert signing.words(1, 0) == (update, avail, later)
    signing.sign(SignPrevote(2, 0, VALUE, -1, 0))
    assert signing.words(1, 0) == (update, avail)
    assert signing.words(3, 2) == ()
    assert signing.words(3, 0) == (update,)  # It may still count for block 3.


def test_each_word_is_persisted_apart() -> None:
    outbox: list[Effect] = []
    signing = hand(outbox)
    signing.sign(SignAvail(1, 0, 0, (), 5))
    signing.sign(SignPrevote(1, 0, VALUE, -1, 0))
    assert [effect.record for effect in outbox if isinstance(effect, Persist)][-1] is signing.record
    assert len(outbox) == 2
    assert signing.record.avail is not None
