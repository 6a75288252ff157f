"""The engine of one height: hostile input, own input, what it tells the node. Scenarios: tests/scripts."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from support.consensus import CHAIN_ID, Committee, Peer

from p2pfed.consensus.engine import Engine
from p2pfed.consensus.io import (
    CollectEnded,
    CommitReceived,
    Decided,
    FoundEvidence,
    GetValue,
    Input,
    LeaveCollect,
    LocalValue,
    NeedValue,
    NewRound,
    Output,
    PolkaReceived,
    ProposalReceived,
    Propose,
    PublishCommit,
    PublishPolka,
    Restarted,
    SafetyViolated,
    Schedule,
    SendPrecommit,
    SendPrevote,
    TimeoutFired,
    ValuePending,
    ValueReady,
    VoteReceived,
)
from p2pfed.consensus.machine import Step
from p2pfed.consensus.signer import SignAvail, Signed, decide, initial_record
from p2pfed.errors import BadSignature, InvalidCertificate, MalformedMessage, PeerFault, WrongHeight
from p2pfed.primitives.digest import sha256
from p2pfed.types.params import ROUNDS_AHEAD_MAX
from p2pfed.types.wire import RoundVotes

FOUR = Committee()
HEADER = FOUR.header()
X = HEADER.value_id


@pytest.fixture
def engine() -> Engine:
    """D's engine in round 0."""
    engine = FOUR.engine("D")
    engine.step(CollectEnded())
    return engine


def feed(engine: Engine, *inputs: Input) -> list[Output]:
    return [output for input_ in inputs for output in engine.step(input_)]


def votes(
    engine: Engine, names: str, round_: int, value_id: bytes | None, valid_round: int = -1
) -> list[Output]:
    return feed(engine, *(VoteReceived(FOUR.prevote(name, round_, value_id, valid_round)) for name in names))


def snapshot(engine: Engine) -> tuple[object, ...]:
    held = [engine.votes_missing(RoundVotes(round_, b"\0", b"\0", False)) for round_ in range(10)]
    return engine._state, engine.polkas, held, [engine.proposal(round_) for round_ in range(10)]


def hostile_inputs() -> list[tuple[Input, type[PeerFault]]]:
    message = FOUR.proposal(0, HEADER)
    polka, commit = FOUR.polka("ABC", 0, X), FOUR.commit("ABC", 0, X)
    far = 1 + ROUNDS_AHEAD_MAX
    bad = bytes(64)
    return [
        (VoteReceived(replace(FOUR.prevote("A", 0, X), signature=bad)), BadSignature),
        (VoteReceived(replace(FOUR.precommit("A", 0, X), signature=bad)), BadSignature),
        (VoteReceived(FOUR.prevote("A", far, X)), WrongHeight),
        (VoteReceived(FOUR.prevote("A", 0, None, 0)), MalformedMessage),
        (ProposalReceived(replace(message, header=FOUR.header(salt=1))), MalformedMessage),
        (ProposalReceived(replace(message, proposal=replace(message.proposal, signature=bad))), BadSignature),
        (ProposalReceived(FOUR.proposal(far, HEADER)), WrongHeight),
        (
            ProposalReceived(FOUR.proposal(1, HEADER, 0, replace(polka, signatures=(bad,) * 3))),
            InvalidCertificate,
        ),
        (ProposalReceived(FOUR.proposal(0, HEADER, -1, polka)), InvalidCertificate),
        (PolkaReceived(replace(polka, height=2)), WrongHeight),
        (PolkaReceived(replace(polka, signatures=(bad,) * 3)), InvalidCertificate),
        (CommitReceived(replace(commit, height=2)), WrongHeight),
        (CommitReceived(replace(commit, signatures=(bad,) * 3)), InvalidCertificate),
    ]


@pytest.mark.parametrize(("hostile", "fault"), hostile_inputs(), ids=repr)
def test_a_hostile_message_raises_and_changes_nothing(
    engine: Engine, hostile: Input, fault: type[PeerFault]
) -> None:
    before = snapshot(engine)
    with pytest.raises(fault):
        engine.step(hostile)
    assert snapshot(engine) == before


def test_the_good_twin_of_a_hostile_copy_is_still_accepted(engine: Engine) -> None:
    """A liar that spoils its copy of an honest proposal can't keep the honest copy out."""
    engine.step(ValueReady(X, True))
    polka = FOUR.polka("ABC", 0, X)
    feed(engine, *(TimeoutFired(kind, 0) for kind in ("propose", "prevote", "precommit")))
    for spoilt in (replace(polka, signatures=(bytes(64),) * 3), FOUR.polka("ABC", 0, sha256(b"Y"))):
        with pytest.raises(InvalidCertificate):
            engine.step(ProposalReceived(FOUR.proposal(1, HEADER, 0, spoilt)))
    outputs = engine.step(ProposalReceived(FOUR.proposal(1, HEADER, 0, polka)))
    assert SendPrevote(1, X, 0) in outputs


def test_a_second_copy_of_a_proposal_may_bring_the_polka_and_is_checked_for_it(engine: Engine) -> None:
    feed(engine, *(TimeoutFired(kind, 0) for kind in ("propose", "prevote", "precommit")))
    polka = FOUR.polka("ABC", 0, X)
    feed(engine, ValueReady(X, True), ProposalReceived(FOUR.proposal(1, HEADER, 0)))
    with pytest.raises(InvalidCertificate):
        engine.step(ProposalReceived(FOUR.proposal(1, HEADER, 0, replace(polka, bitmap=b"\x0f"))))
    assert engine.step(ProposalReceived(FOUR.proposal(1, HEADER, 0, polka))) == (SendPrevote(1, X, 0),)
    assert engine.proposal(1) == FOUR.proposal(1, HEADER, 0, polka)


def test_duplicates_are_dropped_before_their_signature_is_looked_at(engine: Engine) -> None:
    bad = bytes(64)
    message, polka, commit = FOUR.proposal(0, HEADER), FOUR.polka("ABC", 0, X), FOUR.commit("ABC", 0, X)
    vote = FOUR.prevote("A", 0, X)
    feed(engine, ProposalReceived(message), PolkaReceived(polka))
    for copy in (
        VoteReceived(replace(vote, signature=bad)),
        PolkaReceived(replace(polka, signatures=(bad,) * 3)),
        ProposalReceived(replace(message, proposal=replace(message.proposal, signature=bad))),
    ):
        assert engine.step(copy) == ()
    engine.step(CommitReceived(commit))
    assert engine.step(CommitReceived(replace(commit, signatures=(bad,) * 3))) == ()


def test_a_copy_of_a_proposal_with_another_header_replaces_nothing(engine: Engine) -> None:
    message = FOUR.proposal(0, HEADER)
    engine.step(ProposalReceived(message))
    assert engine.step(ProposalReceived(replace(message, header=FOUR.header(salt=1)))) == ()
    assert engine.proposal(0) == message


def test_a_flood_of_lies_costs_one_signature_check_each_way(engine: Engine) -> None:
    """After two votes, or two proposals, the rest of a liar's is dropped unread."""
    votes(engine, "A", 0, X)
    votes(engine, "A", 0, None)
    third = replace(FOUR.prevote("A", 0, sha256(b"Y")), signature=bytes(64))
    assert engine.step(VoteReceived(third)) == ()
    feed(engine, *(ProposalReceived(FOUR.proposal(0, FOUR.header(salt=salt))) for salt in range(2)))
    message = FOUR.proposal(0, FOUR.header(salt=3))
    assert engine.step(ProposalReceived(replace(message, header=HEADER))) == ()


def test_a_forged_second_proposal_is_no_evidence(engine: Engine) -> None:
    engine.step(ProposalReceived(FOUR.proposal(0, HEADER)))
    message = FOUR.proposal(0, FOUR.header(salt=1))
    with pytest.raises(BadSignature):
        engine.step(
            ProposalReceived(replace(message, proposal=replace(message.proposal, signature=bytes(64))))
        )
    assert [type(output) for output in engine.step(ProposalReceived(message))] == [FoundEvidence]


def test_one_value_proposed_with_two_valid_rounds_is_evidence(engine: Engine) -> None:
    engine.step(ProposalReceived(FOUR.proposal(2, HEADER, 0)))
    outputs = engine.step(ProposalReceived(FOUR.proposal(2, HEADER, 1)))
    assert [type(output) for output in outputs] == [FoundEvidence]


def test_a_value_is_asked_for_once_and_its_first_verdict_stands(engine: Engine) -> None:
    assert NeedValue(X, HEADER) in engine.step(ProposalReceived(FOUR.proposal(0, HEADER)))
    assert engine.header(X) == HEADER
    assert engine.header(sha256(b"Y")) is None
    assert (
        feed(engine, ProposalReceived(FOUR.proposal(1, HEADER)), ProposalReceived(FOUR.proposal(2, HEADER)))
        == []
    )
    assert engine.step(ValueReady(X, False)) == (SendPrevote(0, None, -1),)
    engine.step(ValueReady(X, True))
    votes(engine, "ABC", 0, X)
    assert engine.locked_round == -1


def test_a_value_checked_before_its_proposal_came_is_not_asked_for() -> None:
    engine = FOUR.engine("D")
    feed(engine, ValueReady(X, True))
    assert engine.step(ProposalReceived(FOUR.proposal(0, HEADER))) == ()


def test_a_polka_of_a_value_without_header_is_not_proposed_again(engine: Engine) -> None:
    feed(engine, ValueReady(X, True), PolkaReceived(FOUR.polka("ABC", 0, X)))
    assert engine.valid_round == -1
    assert engine.best_polka is None
    engine.step(ProposalReceived(FOUR.proposal(0, HEADER)))
    assert engine.valid_round == 0
    assert engine.best_polka == FOUR.polka("ABC", 0, X)
    assert engine.polkas == (FOUR.polka("ABC", 0, X),)


def test_a_polka_of_an_unchecked_or_invalid_value_is_not_proposed_again(engine: Engine) -> None:
    feed(engine, ProposalReceived(FOUR.proposal(0, HEADER)), PolkaReceived(FOUR.polka("ABC", 0, X)))
    assert engine.valid_round == -1
    feed(engine, ValueReady(X, False))
    assert engine.valid_round == -1


def test_a_polka_of_another_valid_round_than_the_proposals_locks_nobody(engine: Engine) -> None:
    """A proposer that told others another valid round made this polka; only its value is worth keeping."""
    for round_ in (0, 1):
        feed(engine, *(TimeoutFired(kind, round_) for kind in ("propose", "prevote", "precommit")))
    feed(engine, ValueReady(X, True), ProposalReceived(FOUR.proposal(2, HEADER, 1, FOUR.polka("ABC", 1, X))))
    assert engine.current_step is Step.PREVOTE
    outputs = engine.step(PolkaReceived(FOUR.polka("ABC", 2, X, 0)))
    assert not [output for output in outputs if isinstance(output, SendPrecommit)]
    assert (engine.locked_round, engine.valid_round) == (-1, 2)


def test_a_polka_that_is_here_before_its_proposal_locks_as_soon_as_we_have_voted(engine: Engine) -> None:
    feed(engine, ProposalReceived(FOUR.proposal(0, HEADER)), ValueReady(X, True))
    feed(engine, TimeoutFired("prevote", 0), TimeoutFired("precommit", 0))
    polka = FOUR.polka("ABC", 1, X, 0)
    engine.step(PolkaReceived(polka))
    assert (engine.valid_round, engine.current_step) == (1, Step.PROPOSE)
    outputs = engine.step(ProposalReceived(FOUR.proposal(1, HEADER, 0, FOUR.polka("ABC", 0, X))))
    assert outputs[0] == SendPrevote(1, X, 0)
    assert SendPrecommit(1, X, polka, HEADER) in outputs
    assert engine.locked_round == 1


def test_a_header_with_another_round_or_proposer_is_prevoted_nil_as_fresh(engine: Engine) -> None:
    for header in (FOUR.header(1, proposer="A"), FOUR.header(0, proposer="B")):
        engine = FOUR.engine("D")
        feed(engine, CollectEnded(), ValueReady(header.value_id, True))
        assert SendPrevote(0, None, -1) in engine.step(ProposalReceived(FOUR.proposal(0, header)))


def test_a_late_header_lengthens_the_wait_for_its_data_once(engine: Engine) -> None:
    feed(engine, ProposalReceived(FOUR.proposal(0, HEADER)), ValuePending(X, 2_000_000, 1_000_000))
    assert engine.step(TimeoutFired("propose", 0)) == (Schedule("propose", 0, 3000),)
    assert engine.step(TimeoutFired("propose", 0)) == (SendPrevote(0, None, -1),)
    engine = FOUR.engine("D")
    feed(engine, CollectEnded(), ProposalReceived(FOUR.proposal(0, HEADER)))
    assert engine.step(TimeoutFired("propose", 0)) == (Schedule("propose", 0, 1000),)


def test_a_stale_propose_timeout_lengthens_nothing(engine: Engine) -> None:
    feed(engine, *(TimeoutFired(kind, 0) for kind in ("propose", "prevote", "precommit")))
    feed(engine, ProposalReceived(FOUR.proposal(0, HEADER)))
    assert engine.step(TimeoutFired("propose", 0)) == ()
    feed(engine, ProposalReceived(FOUR.proposal(1, HEADER, 0)), TimeoutFired("propose", 1))
    assert engine.step(TimeoutFired("propose", 1)) == (SendPrevote(1, None, -1),)
    assert engine.step(TimeoutFired("propose", 1)) == ()


def test_only_the_propose_timeout_of_step_propose_is_lengthened(engine: Engine) -> None:
    feed(engine, TimeoutFired("propose", 0), ProposalReceived(FOUR.proposal(0, HEADER)))
    assert engine.step(TimeoutFired("propose", 0)) == ()
    feed(engine, TimeoutFired("prevote", 0), TimeoutFired("precommit", 0))
    feed(engine, ProposalReceived(FOUR.proposal(1, FOUR.header(1))))
    assert engine.current_step is Step.PROPOSE
    assert engine.step(TimeoutFired("prevote", 1)) == ()
    assert engine.step(TimeoutFired("precommit", 1))[0] == NewRound(2)


def test_a_block_that_is_built_when_its_round_is_over_is_dropped() -> None:
    peer = FOUR.engine("A")
    feed(peer, CollectEnded(), *(TimeoutFired(kind, 0) for kind in ("propose", "prevote", "precommit")))
    assert (peer.round, peer.current_step) == (1, Step.PROPOSE)
    assert peer.step(LocalValue(0, HEADER)) == ()


def test_the_proposer_sends_one_block_for_its_own_round_only() -> None:
    peer = FOUR.engine("A")
    assert GetValue(0) in peer.step(CollectEnded())
    other = FOUR.engine("D")
    other.step(CollectEnded())
    assert other.step(LocalValue(0, HEADER)) == ()
    later = FOUR.header(4)
    assert peer.step(LocalValue(4, later)) == ()
    assert peer.step(LocalValue(0, HEADER)) == (Propose(0, HEADER, -1, None),)
    assert peer.header(X) == HEADER
    assert peer.step(LocalValue(0, FOUR.header(salt=1))) == ()
    assert peer.step(ProposalReceived(FOUR.proposal(0, HEADER))) == (SendPrevote(0, X, -1),)


def test_a_polka_for_our_own_value_counts_as_soon_as_the_value_is_here() -> None:
    """A proposer that lost its log builds again what others have prevoted already."""
    peer = FOUR.engine("A")
    feed(peer, CollectEnded(), PolkaReceived(FOUR.polka("BCD", 0, X)))
    assert peer.valid_round == -1
    peer.step(LocalValue(0, HEADER))
    assert peer.valid_round == 0


def test_a_block_built_for_a_decided_height_is_dropped() -> None:
    peer = FOUR.engine("A")
    feed(peer, CollectEnded(), CommitReceived(FOUR.commit("BCD", 0, sha256(b"Y"))))
    assert peer.step(LocalValue(0, HEADER)) == ()


def test_a_proposer_that_knows_a_valid_value_proposes_it_with_its_polka() -> None:
    peer = FOUR.engine("B")
    feed(peer, CollectEnded(), ProposalReceived(FOUR.proposal(0, HEADER)), ValueReady(X, True))
    outputs = votes(peer, "ACD", 0, X)
    assert SendPrecommit(0, X, FOUR.polka("ACD", 0, X), HEADER) in outputs
    assert (peer.locked_round, peer.valid_round) == (0, 0)
    outputs = list(peer.step(TimeoutFired("precommit", 0)))
    assert outputs == [
        NewRound(1),
        Propose(1, HEADER, 0, FOUR.polka("ACD", 0, X)),
        Schedule("propose", 1, 1250),
    ]


def test_an_observer_follows_and_never_speaks() -> None:
    engine = FOUR.engine(None)
    outputs = feed(engine, CollectEnded(), ProposalReceived(FOUR.proposal(0, HEADER)), ValueReady(X, True))
    outputs += votes(engine, "ABC", 0, X)
    outputs += feed(
        engine, TimeoutFired("precommit", 0), TimeoutFired("propose", 1), TimeoutFired("prevote", 1)
    )
    outputs += feed(engine, *(VoteReceived(FOUR.precommit(name, 0, X)) for name in "ABC"))
    assert not [o for o in outputs if isinstance(o, GetValue | Propose | SendPrevote | SendPrecommit)]
    assert isinstance(outputs[-1], Decided)
    assert engine.decided == FOUR.commit("ABC", 0, X)


def test_single_precommits_and_a_certificate_decide_alike() -> None:
    by_votes, by_cert = FOUR.engine("D"), FOUR.engine("D")
    for engine in (by_votes, by_cert):
        feed(engine, CollectEnded(), ProposalReceived(FOUR.proposal(0, HEADER)), ValueReady(X, True))
    feed(by_votes, *(VoteReceived(FOUR.precommit(name, 7, X)) for name in "AB"))
    outputs = by_votes.step(VoteReceived(FOUR.precommit("C", 7, X)))
    cert = FOUR.commit("ABC", 7, X)
    assert (
        outputs[-2:] == by_cert.step(CommitReceived(cert))[-2:] == (PublishCommit(cert), Decided(cert, True))
    )


def test_two_decided_values_halt(engine: Engine) -> None:
    first, second = FOUR.commit("ABC", 0, X), FOUR.commit("BCD", 1, sha256(b"Y"))
    engine.step(CommitReceived(first))
    with pytest.raises(InvalidCertificate):
        engine.step(CommitReceived(replace(second, signatures=first.signatures)))
    assert SafetyViolated(first, second) in engine.step(CommitReceived(second))


def test_the_lies_inside_certificates_and_attachments_are_told(engine: Engine) -> None:
    def found(outputs: tuple[Output, ...]) -> int:
        return sum(isinstance(output, FoundEvidence) for output in outputs)

    votes(engine, "AB", 0, None)
    assert found(engine.step(PolkaReceived(FOUR.polka("ACD", 0, X)))) == 1
    # A polka is held for X, so another one beside a proposal is not looked at.
    assert found(engine.step(ProposalReceived(FOUR.proposal(1, HEADER, 0, FOUR.polka("BCD", 0, X))))) == 0
    engine.step(VoteReceived(FOUR.precommit("A", 0, None)))
    assert found(engine.step(CommitReceived(FOUR.commit("ABC", 0, X)))) == 1
    fresh = FOUR.engine("D")
    votes(fresh, "B", 0, None)
    assert found(fresh.step(ProposalReceived(FOUR.proposal(1, HEADER, 0, FOUR.polka("BCD", 0, X))))) == 1


def test_a_certificate_of_a_far_round_moves_us_there(engine: Engine) -> None:
    outputs = engine.step(PolkaReceived(FOUR.polka("ABC", 500, X)))
    assert outputs[0] == NewRound(500)
    assert engine.round == 500


def test_what_is_held_of_a_later_round_is_voted_on_as_soon_as_a_voice_moves_us_there(engine: Engine) -> None:
    later = FOUR.header(round0=2)
    feed(engine, ProposalReceived(FOUR.proposal(2, later)), ValueReady(later.value_id, True))
    assert votes(engine, "AB", 2, None) == [
        NewRound(2),
        Schedule("propose", 2, 1500),
        SendPrevote(2, later.value_id, -1),
    ]


def test_a_certificate_counts_although_each_of_its_votes_is_one_too_many(engine: Engine) -> None:
    """Two votes of each sender are kept, a third is dropped: the certificate alone tells of it (M4)."""
    feed(engine, ProposalReceived(FOUR.proposal(0, HEADER)), ValueReady(X, True))
    others = {"A": "YZ", "B": "ZW", "C": "YW"}
    for name, value_id in [(who, sha256(value.encode())) for who, said in others.items() for value in said]:
        votes(engine, name, 0, value_id)
        engine.step(VoteReceived(FOUR.precommit(name, 0, value_id)))
    polka, commit = FOUR.polka("ABC", 0, X), FOUR.commit("ABC", 0, X)
    assert SendPrecommit(0, X, polka, HEADER) in engine.step(PolkaReceived(polka))
    assert Decided(commit, is_ready=True) in engine.step(CommitReceived(commit))


def test_digests_cover_the_last_two_rounds() -> None:
    engine = FOUR.engine("D")
    nothing = RoundVotes(0, b"\0", b"\0", False)
    assert engine.digest_rounds() == (nothing,)
    feed(engine, CollectEnded(), ProposalReceived(FOUR.proposal(0, HEADER)))
    votes(engine, "B", 0, None)
    assert engine.digest_rounds() == (RoundVotes(0, bytes([1 << FOUR.index("B")]), b"\0", True),)
    feed(engine, *(TimeoutFired(kind, 0) for kind in ("propose", "propose", "prevote", "precommit")))
    assert [held.round for held in engine.digest_rounds()] == [0, 1]
    feed(engine, *(VoteReceived(FOUR.precommit(name, 6, None)) for name in "AB"))
    assert [held.round for held in engine.digest_rounds()] == [5, 6]
    assert engine.votes_missing(nothing) == (FOUR.prevote("B", 0, None),)
    with pytest.raises(MalformedMessage):
        engine.votes_missing(RoundVotes(0, b"", b"", False))


def test_a_peer_far_behind_climbs_in_strides_of_what_it_keeps() -> None:
    ahead, behind = FOUR.engine("A"), FOUR.engine("B")
    feed(ahead, CollectEnded())
    for round_ in range(20):
        feed(ahead, *(VoteReceived(FOUR.precommit(name, round_, None)) for name in "ABC"))
        feed(ahead, TimeoutFired("precommit", round_))
    assert ahead.round == 20
    assert ahead.votes_ahead(19) == ahead.votes_ahead(25) == ()
    assert len(ahead.votes_ahead(10)) == 3
    behind.step(CollectEnded())
    strides = []
    while lift := ahead.votes_ahead(behind.round):
        feed(behind, *(VoteReceived(vote) for vote in lift))
        strides.append(behind.round)
    assert strides == [8, 16, 19]  # Nobody voted in round 20 yet.


def test_the_engine_tells_where_it_stands(engine: Engine) -> None:
    assert (engine.round, engine.current_step, engine.locked_round) == (0, Step.PROPOSE, -1)
    assert [FOUR.name(engine.proposer(round_)) for round_ in range(5)] == list("ABCDA")
    assert engine.proposal(0) is None
    assert FOUR.engine("D").current_step is Step.COLLECT
    assert FOUR.engine("D").round == -1


def test_a_fresh_record_or_one_of_an_earlier_height_starts_at_collect() -> None:
    peer = Peer(Committee(height=1), "D")
    peer.take(CollectEnded())
    peer.take(TimeoutFired("propose", 0))
    next_height = Committee(height=2)
    engine = next_height.engine("D", peer.record)
    assert (engine.round, engine.current_step) == (-1, Step.COLLECT)
    assert engine.step(Restarted()) == ()
    assert FOUR.engine("D", initial_record()).step(Restarted()) == ()
    with pytest.raises(AssertionError):
        Committee(height=0).engine("D", peer.record)


def test_a_peer_that_signed_its_avail_leaves_collect_again_after_a_restart() -> None:
    asked = SignAvail(1, 0, FOUR.index("D"), (), 1)
    signed = decide(initial_record(), asked, FOUR.key("D"), CHAIN_ID)
    assert isinstance(signed, Signed)
    assert FOUR.engine("D", signed.record).step(Restarted()) == (LeaveCollect(),)
    assert FOUR.engine("D", replace(signed.record, height=1)).step(Restarted()) == (LeaveCollect(),)
    assert Committee(height=2).engine("D", signed.record).step(Restarted()) == ()


def restarted_at(step: Step) -> tuple[Peer, list[Output]]:
    """B, proposer of round 1 with the lock of round 0, crashes after its message of `step` in round 1."""
    peer = Peer(FOUR, "B")
    for input_ in (CollectEnded(), ProposalReceived(FOUR.proposal(0, HEADER)), ValueReady(X, True)):
        peer.take(input_)
    for name in "AC":
        peer.take(VoteReceived(FOUR.prevote(name, 0, X)))
    peer.restart()  # Forgets the verdict, so that the proposal of round 1 waits.
    peer.take(TimeoutFired("precommit", 0))
    if step >= Step.PREVOTE:
        peer.take(ValueReady(X, True))
    if step is Step.PRECOMMIT:
        peer.take(TimeoutFired("prevote", 1))
    assert (peer.record.round, peer.record.step) == (1, step)
    peer.sent.clear()
    return peer, peer.restart()


@pytest.mark.parametrize("step", [Step.PROPOSE, Step.PREVOTE, Step.PRECOMMIT])
def test_a_restart_says_the_same_again_and_waits_in_its_step(step: Step) -> None:
    peer, outputs = restarted_at(step)
    engine = peer.engine
    assert (engine.round, engine.current_step, engine.locked_round, engine.valid_round) == (1, step, 0, 0)
    said = [
        Propose(1, HEADER, 0, engine.best_polka),
        SendPrevote(1, X, 0),
        SendPrecommit(1, None, None, None),
    ]
    kind, delay_ms = [("propose", 1250), ("prevote", 750), ("precommit", 750)][step - 1]
    assert engine.best_polka is not None
    first = [PublishPolka(engine.best_polka), NeedValue(X, HEADER)]
    assert outputs == [*first, *said[:step], Schedule(kind, 1, delay_ms)]
    record = peer.record
    messages = [record.proposal, record.prevote, record.precommit][:step]
    assert peer.sent == [record.lock_cert, *messages]
    assert [output for output in outputs if isinstance(output, NeedValue)] == [NeedValue(X, HEADER)]


def test_a_restart_repeats_a_precommit_with_its_lock() -> None:
    peer = Peer(FOUR, "D")
    for input_ in (CollectEnded(), ProposalReceived(FOUR.proposal(0, HEADER)), ValueReady(X, True)):
        peer.take(input_)
    for name in "AC":
        peer.take(VoteReceived(FOUR.prevote(name, 0, X)))
    lock = peer.engine.best_polka
    assert SendPrecommit(0, X, lock, HEADER) in peer.restart()


@pytest.mark.parametrize("step", [Step.PROPOSE, Step.PREVOTE, Step.PRECOMMIT])
def test_a_restarted_peer_votes_on_and_decides(step: Step) -> None:
    peer, _ = restarted_at(step)
    peer.take(ValueReady(X, True))
    for name in "AC":
        peer.take(VoteReceived(FOUR.prevote(name, 1, X, 0)))
    assert peer.engine.locked_round == (0 if step is Step.PRECOMMIT else 1)
    outputs = [o for name in "ACD" for o in peer.take(VoteReceived(FOUR.precommit(name, 1, X)))]
    assert isinstance(outputs[-1], Decided)
    assert outputs[-1].is_ready


def test_a_restarted_peer_keeps_its_lock_against_a_fresh_value() -> None:
    peer, _ = restarted_at(Step.PRECOMMIT)
    peer.take(TimeoutFired("precommit", 1))
    fresh = FOUR.header(2)
    outputs = peer.take(ProposalReceived(FOUR.proposal(2, fresh)))
    assert SendPrevote(2, None, -1) in outputs
