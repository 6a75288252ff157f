"""Going through a log again: the same state, the same words, and whatever does not fit is refused."""

from __future__ import annotations

from collections import deque

import msgspec
import pytest
from support.consensus import CHAIN_ID, Committee

from p2pfed.consensus import io
from p2pfed.consensus.engine import Engine
from p2pfed.consensus.io import (
    CollectEnded,
    LocalValue,
    NeedValue,
    ProposalReceived,
    SendPrevote,
    TimeoutFired,
    ValueReady,
    VoteReceived,
)
from p2pfed.consensus.journal import Began, Ended, Entry, Said, decode_entry, encode_entry, input_of
from p2pfed.consensus.machine import Step
from p2pfed.consensus.replay import Replayed, fingerprint, history_of, replay, values_of
from p2pfed.consensus.signer import (
    Signed,
    SignPrecommit,
    SignPrevote,
    SignProposal,
    SignRecord,
    decide,
    initial_record,
)
from p2pfed.errors import LocalError, StorageFault
from p2pfed.types.vote import Precommit


class Logged:
    """A validator that logs what moves its engine, and signs what that asks for."""

    def __init__(self, committee: Committee, name: str) -> None:
        self.committee, self.name = committee, name
        self.record = initial_record()
        self.engine = committee.engine(name)
        self.log: list[Entry] = [Began(committee.height, committee.index(name), None)]

    def take(self, *inputs: io.Input) -> None:
        for first in inputs:
            queue: deque[io.Input | Said] = deque([first])
            while queue:
                entry, mark = queue.popleft(), self.engine.mark
                outputs = self.engine.step(input_of(entry.message) if isinstance(entry, Said) else entry)
                if outputs or self.engine.mark != mark:
                    self.log.append(decode_entry(*encode_entry(entry)))
                for output in outputs:
                    queue.extend(self.speak(output))

    def speak(self, output: io.Output) -> tuple[Said, ...]:
        index, height = self.committee.index(self.name), self.committee.height
        match output:
            case io.Propose():
                request = SignProposal(output.header, output.round, output.valid_round, index, output.polka)
            case io.SendPrevote():
                request = SignPrevote(height, output.round, output.value_id, output.valid_round, index)
            case io.SendPrecommit():
                lock = (output.lock_cert, output.lock_header)
                request = SignPrecommit(height, output.round, output.value_id, index, *lock)
            case _:
                return ()
        signed = decide(self.record, request, self.committee.key(self.name), CHAIN_ID)
        assert isinstance(signed, Signed)
        self.record = signed.record
        return (Said(signed.message),)

    def make(self, record: SignRecord | None) -> Engine:
        return self.committee.engine(self.name, record)

    def replay(self, log: list[Entry] | None = None, record: SignRecord | None = None) -> Replayed | None:
        history = history_of(self.log if log is None else log, self.committee.height)
        return replay(self.make, history, record or self.record)


@pytest.fixture
def committee() -> Committee:
    return Committee()


@pytest.fixture
def peer(committee: Committee) -> Logged:
    """D, that prevoted X in round 0 and locked it, and went on to round 1."""
    peer, header = Logged(committee, "D"), committee.header()
    value_id = header.value_id
    peer.take(
        CollectEnded(),
        ProposalReceived(committee.proposal(0, header)),
        ValueReady(value_id, is_valid=True),
        VoteReceived(committee.prevote("A", 0, value_id)),
        VoteReceived(committee.prevote("B", 0, value_id)),
        VoteReceived(committee.precommit("A", 0, None)),
        VoteReceived(committee.precommit("B", 0, None)),
        TimeoutFired("precommit", 0),
        VoteReceived(committee.prevote("C", 1, None)),
    )
    return peer


def test_every_prefix_of_a_log_gives_the_engine_as_it_was_then(committee: Committee, peer: Logged) -> None:
    copy = Logged(committee, "D")
    for at in range(1, len(peer.log)):
        entry = peer.log[at]
        copy.engine.step(input_of(entry.message) if isinstance(entry, Said) else entry)
        # The record is never behind the log: whatever was signed by then was durable before.
        outcome = peer.replay(peer.log[: at + 1], initial_record() if at < 4 else None)
        if outcome is not None:
            assert fingerprint(outcome.engine) == fingerprint(copy.engine)
    whole = peer.replay()
    assert whole is not None
    assert fingerprint(whole.engine) == fingerprint(peer.engine)
    assert (whole.engine.round, whole.engine.locked_round, whole.words) == (1, 0, ())


def test_another_order_or_one_vote_less_is_another_state(peer: Logged) -> None:
    whole, shorter = peer.replay(), peer.replay(peer.log[:-1])
    assert whole is not None
    assert shorter is not None
    assert fingerprint(whole.engine) != fingerprint(shorter.engine)


def test_what_moved_nothing_is_not_in_the_log(committee: Committee, peer: Logged) -> None:
    before = len(peer.log)
    peer.take(VoteReceived(committee.prevote("C", 1, None)), TimeoutFired("precommit", 0))
    assert len(peer.log) == before


def test_after_it_the_engine_says_its_words_of_this_round_again_and_asks_for_what_died(
    committee: Committee,
) -> None:
    peer, header = Logged(committee, "D"), committee.header()
    peer.take(
        CollectEnded(),
        ProposalReceived(committee.proposal(0, header)),
        ValueReady(header.value_id, is_valid=True),
    )
    outcome = peer.replay()
    assert outcome is not None
    again = outcome.engine.again(outcome.words)
    assert again == (NeedValue(header.value_id, header), SendPrevote(0, header.value_id, -1))
    assert outcome.engine.verdict(header.value_id) is True  # Read from the log: its check is not asked again.


def test_a_proposer_that_waited_for_its_value_asks_for_it_again(committee: Committee) -> None:
    peer = Logged(committee, "A")
    peer.take(CollectEnded())
    outcome = peer.replay()
    assert outcome is not None
    kinds = [type(output) for output in outcome.engine.again(outcome.words)]
    assert kinds == [io.GetValue, io.Schedule]
    peer.take(TimeoutFired("propose", 0))  # Too late to propose.
    outcome = peer.replay()
    assert outcome is not None
    assert outcome.engine.again(outcome.words) == (SendPrevote(0, None, -1),)


def test_what_is_answered_or_over_is_not_asked_again(committee: Committee) -> None:
    """A value found invalid is not checked again; COLLECT that a voice ended is not left again."""
    peer, header = Logged(committee, "D"), committee.header(round0=2)
    peer.take(
        VoteReceived(committee.prevote("A", 2, None)),
        VoteReceived(committee.prevote("B", 2, None)),
        CollectEnded(),
        ProposalReceived(committee.proposal(2, header)),
        ValueReady(header.value_id, is_valid=False),
    )
    outcome = peer.replay()
    assert outcome is not None
    assert outcome.engine.again(outcome.words) == outcome.words
    assert outcome.words[0] == SendPrevote(2, None, -1)


def test_a_word_that_the_log_lost_after_it_was_signed_is_said_again(committee: Committee) -> None:
    """The record is durable, then the log, then the word; what it brings back to us may be lost."""
    peer, header = Logged(committee, "D"), committee.header()
    peer.take(
        CollectEnded(),
        ProposalReceived(committee.proposal(0, header)),
        ValueReady(header.value_id, is_valid=True),
    )
    assert isinstance(peer.log[-1], Said)
    outcome = peer.replay(peer.log[:-1])
    assert outcome is not None
    assert outcome.words == (SendPrevote(0, header.value_id, -1),)


def test_a_record_ahead_of_its_log_is_what_counts(peer: Logged) -> None:
    assert peer.replay(peer.log[:4]) is None  # The log ends before the verdict that D voted on.


def test_a_record_ahead_of_its_log_counts_without_a_lock_too(committee: Committee) -> None:
    peer = Logged(committee, "D")
    peer.take(CollectEnded(), TimeoutFired("propose", 0))
    assert peer.record.prevote is not None
    assert peer.replay(peer.log[:2]) is None


def test_a_record_older_than_the_log_is_refused_with_both_places(peer: Logged) -> None:
    with pytest.raises(
        LocalError, match=r"ends at the nothing of height 0.*our precommit of height 1, round 0"
    ):
        peer.replay(record=initial_record())


def test_a_vote_that_comes_out_as_another_one_is_fatal(committee: Committee, peer: Logged) -> None:
    other = [
        ValueReady(entry.value_id, is_valid=False) if isinstance(entry, ValueReady) else entry
        for entry in peer.log
    ]
    said = committee.header().value_id.hex()[:12]
    with pytest.raises(
        StorageFault, match=rf"our prevote of height 1, round 0 was for {said}… .*gives nil.*repair"
    ):
        peer.replay(other)


def test_a_record_that_says_another_thing_than_the_log_is_fatal(committee: Committee, peer: Logged) -> None:
    words = [entry for entry in peer.log if entry != Said(peer.record.precommit)]  # Nothing there to compare.
    wrong = committee.precommit("D", 0, committee.header(salt=1).value_id)
    with pytest.raises(StorageFault, match="our precommit of height 1, round 0"):
        peer.replay(words, msgspec.structs.replace(peer.record, precommit=wrong))


def test_a_record_that_says_what_the_log_does_not_know_of_is_fatal(
    committee: Committee, peer: Logged
) -> None:
    proposal = committee.proposal(0, committee.header())
    with pytest.raises(StorageFault, match=r"our proposal of height 1, round 0 was for .* gives none"):
        peer.replay(record=msgspec.structs.replace(peer.record, proposal=proposal))


def test_the_lock_of_an_earlier_height_is_no_business_of_this_one(peer: Logged) -> None:
    next_height = Logged(Committee(height=2), "D")
    next_height.take(CollectEnded())
    outcome = next_height.replay(record=peer.record)
    assert outcome is not None
    assert (outcome.engine.round, outcome.engine.locked_round) == (0, -1)
    next_height.take(TimeoutFired("propose", 0))
    with pytest.raises(
        LocalError, match=r"ends at the precommit of height 1, round 0.*our prevote of height 2"
    ):
        next_height.replay(record=peer.record)


def test_a_vote_by_our_key_that_somebody_else_cast_is_no_word_of_ours(committee: Committee) -> None:
    """The same key in two places: the other one's vote came by the network, and is evidence, not damage."""
    peer, header = Logged(committee, "D"), committee.header()
    peer.take(
        CollectEnded(),
        VoteReceived(committee.prevote("D", 0, None)),
        ProposalReceived(committee.proposal(0, header)),
        ValueReady(header.value_id, is_valid=True),
    )
    outcome = peer.replay()
    assert outcome is not None
    assert [type(kept) for kept in outcome.kept] == [io.FoundEvidence]


def test_the_log_of_another_key_or_with_a_forged_vote_is_refused(committee: Committee, peer: Logged) -> None:
    with pytest.raises(StorageFault, match="validator"):
        peer.replay([Began(1, committee.index("A"), None), *peer.log[1:]])
    forged = msgspec.structs.replace(committee.prevote("A", 0, None), signature=bytes(64))
    with pytest.raises(StorageFault, match="holds what no log holds"):
        peer.replay([peer.log[0], VoteReceived(forged)])


def test_only_the_newest_engine_of_this_height_counts(peer: Logged) -> None:
    assert history_of([Began(1, 0, None), CollectEnded(), *peer.log], 1) == tuple(peer.log)
    assert history_of(peer.log, 2) == ()
    assert history_of([*peer.log, Ended(1), Began(2, 0, None)], 1) == ()
    assert history_of([*peer.log, Ended(1)], 1) == tuple(peer.log)  # Stored, and not begun anew.
    assert history_of([], 1) == ()


def test_an_engine_that_began_from_a_record_is_replayed_from_it(committee: Committee, peer: Logged) -> None:
    second = Logged(committee, "D")
    second.record, second.engine = peer.record, peer.make(peer.record)
    second.log = [Began(1, committee.index("D"), peer.record)]
    second.take(io.Restarted(), io.Restarted(), VoteReceived(committee.prevote("A", 1, None)))
    outcome = second.replay()
    assert outcome is not None
    assert len(outcome.words) == 2  # Prevote and precommit of the round, each once.
    assert fingerprint(outcome.engine) == fingerprint(second.engine)
    assert outcome.engine.current_step is Step.PRECOMMIT


def test_a_decision_that_was_not_stored_is_found_again(committee: Committee, peer: Logged) -> None:
    commit = committee.commit("ABC", 0, committee.header().value_id)
    peer.take(io.CommitReceived(commit))
    outcome = peer.replay()
    assert outcome is not None
    decided = (io.PublishCommit(commit), io.Decided(commit, is_ready=True))
    assert outcome.engine.again(outcome.words)[-2:] == decided


def test_values_that_count_as_valid_are_named_with_their_headers(committee: Committee, peer: Logged) -> None:
    own = committee.header(round0=1, salt=5)
    unknown = ValueReady(bytes(32), is_valid=True)
    assert values_of(peer.log) == (committee.header(),)
    assert values_of([*peer.log, LocalValue(1, own), unknown]) == (committee.header(), own)
    assert values_of([ValueReady(own.value_id, is_valid=False)]) == ()
    locked = committee.header()
    assert values_of([Began(1, 0, peer.record), ValueReady(locked.value_id, is_valid=True)]) == (locked,)


def test_a_record_of_a_height_above_the_log_is_no_business_of_it(peer: Logged) -> None:
    assert peer.replay(record=msgspec.structs.replace(peer.record, height=2)) is None


def test_a_lock_that_the_log_lost_is_taken_from_the_record(committee: Committee, peer: Logged) -> None:
    """The words of the newest round come out the same, and the lock below them does not."""
    peer.take(TimeoutFired("propose", 1))
    lost = [VoteReceived(committee.prevote("B", 0, committee.header().value_id))]
    shorter = [
        entry
        for entry in peer.log
        if entry not in lost and not (isinstance(entry, Said) and isinstance(entry.message, Precommit))
    ]
    assert peer.replay() is not None
    assert peer.replay(shorter) is None


def test_a_later_word_on_what_is_missing_is_in_the_log_too(committee: Committee, peer: Logged) -> None:
    """It makes another wait, so without it the engine would not be where it was."""
    value_id = committee.header(round0=1).value_id
    peer.take(io.ValuePending(value_id, 5_000, 100), io.ValuePending(value_id, 3_000, 100))
    assert peer.log[-2:] == [io.ValuePending(value_id, size, 100) for size in (5_000, 3_000)]
    outcome = peer.replay()
    assert outcome is not None
    assert fingerprint(outcome.engine) == fingerprint(peer.engine)
