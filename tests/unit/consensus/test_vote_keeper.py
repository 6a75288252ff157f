"""Counting votes by stake."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.consensus import CHAIN_ID, Committee

from p2pfed.consensus.certificates import verify_commit, verify_polka
from p2pfed.consensus.evidence import duplicate_vote
from p2pfed.consensus.quorum import has_honest_voice, has_quorum
from p2pfed.consensus.vote_keeper import VoteKeeper
from p2pfed.errors import MalformedMessage
from p2pfed.primitives.digest import sha256
from p2pfed.types.evidence import Amnesia, DuplicateVote
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import RoundVotes

FOUR = Committee()
X, Y = sha256(b"X"), sha256(b"Y")


@pytest.fixture
def keeper() -> VoteKeeper:
    return VoteKeeper(FOUR.validators)


def test_equal_prevotes_of_a_quorum_make_a_polka_that_verifies(keeper: VoteKeeper) -> None:
    for name in "AB":
        keeper.add(FOUR.prevote(name, 2, X, 1))
        assert keeper.polka(2, X) is None
    keeper.add(FOUR.prevote("C", 2, X, 1))
    cert = keeper.polka(2, X, 1)
    assert cert is not None
    verify_polka(cert, FOUR.validators, CHAIN_ID)
    keeper.add(FOUR.prevote("D", 2, X, 1))
    assert keeper.polkas == (cert,)  # One certificate each.
    assert keeper.polka(2, X) == cert
    assert keeper.polka(2, X, 0) is None
    assert keeper.polka(1, X) is None
    assert keeper.polka(2, Y) is None


def test_equal_precommits_of_a_quorum_make_a_commit_that_verifies(keeper: VoteKeeper) -> None:
    for name in "ABC":
        assert keeper.commits == ()
        keeper.add(FOUR.precommit(name, 2, X))
    verify_commit(keeper.commits[0], FOUR.validators, CHAIN_ID)
    keeper.add(FOUR.precommit("D", 2, X))
    assert len(keeper.commits) == 1
    assert keeper.polkas == ()


def test_votes_of_different_rounds_values_valid_rounds_or_kinds_do_not_add_up(keeper: VoteKeeper) -> None:
    keeper.add(FOUR.prevote("A", 3, X, 1))
    keeper.add(FOUR.prevote("B", 3, X, 2))
    keeper.add(FOUR.prevote("C", 3, Y, 1))
    keeper.add(FOUR.prevote("D", 2, X, 1))
    keeper.add(FOUR.precommit("D", 3, X))
    assert keeper.polkas == ()
    assert keeper.commits == ()
    assert keeper.has_quorum_of_any(Prevote, 3)
    assert not keeper.has_quorum_of_any(Precommit, 3)
    assert not keeper.has_quorum_of_any(Prevote, 2)


def test_a_nil_polka_is_no_certificate(keeper: VoteKeeper) -> None:
    for name in "ABC":
        assert not keeper.has_nil_polka(0)
        keeper.add(FOUR.prevote(name, 0, None))
        keeper.add(FOUR.precommit(name, 0, None))
    assert keeper.has_nil_polka(0)
    assert not keeper.has_nil_polka(1)
    assert (keeper.polkas, keeper.commits) == ((), ())


def test_an_equivocator_counts_for_both_values_once_for_any_and_leaves_its_proof(keeper: VoteKeeper) -> None:
    first, second, third = (FOUR.prevote("A", 0, value) for value in (X, Y, None))
    assert keeper.add(first) == keeper.add(first) == ()
    assert keeper.add(second) == (duplicate_vote(first, second),)
    assert keeper.add(third) == ()  # Two prove it.
    assert all(keeper.has(vote) for vote in (first, second, third))
    assert not keeper.has(FOUR.prevote("B", 0, X))
    keeper.add(FOUR.prevote("B", 0, X))
    assert not keeper.has_quorum_of_any(Prevote, 0)
    keeper.add(FOUR.prevote("C", 0, Y))
    assert keeper.has_quorum_of_any(Prevote, 0)
    keeper.add(FOUR.prevote("D", 0, X))
    assert keeper.polka(0, X) is not None
    keeper.add(FOUR.prevote("B", 0, Y))
    assert keeper.polka(0, Y) is not None


def test_a_third_vote_counts_inside_a_certificate_only(keeper: VoteKeeper) -> None:
    z = sha256(b"Z")
    for value in (X, Y):
        keeper.add(FOUR.prevote("A", 0, value))
        keeper.add(FOUR.precommit("A", 0, value))
    polka, commit = FOUR.polka("ABC", 0, z), FOUR.commit("ABC", 0, z)
    assert keeper.add_polka(polka) == ()
    assert keeper.add_commit(commit) == ()
    assert (keeper.polkas, keeper.commits) == ((polka,), (commit,))
    keeper.add(FOUR.prevote("D", 0, z))
    assert keeper.polkas == (polka,)


def test_a_certificate_uncovers_who_voted_twice(keeper: VoteKeeper) -> None:
    prevote, precommit = FOUR.prevote("B", 0, None), FOUR.precommit("C", 0, None)
    keeper.add(prevote)
    keeper.add(precommit)
    assert keeper.add_polka(FOUR.polka("ABC", 0, X)) == (duplicate_vote(prevote, FOUR.prevote("B", 0, X)),)
    assert keeper.add_commit(FOUR.commit("ABC", 0, X)) == (
        duplicate_vote(precommit, FOUR.precommit("C", 0, X)),
    )
    assert keeper.has_quorum_of_any(Prevote, 0)
    assert keeper.has_quorum_of_any(Precommit, 0)


def test_the_first_certificate_of_its_kind_stays(keeper: VoteKeeper) -> None:
    for names in ("ABC", "BCD"):
        keeper.add_polka(FOUR.polka(names, 0, X))
        keeper.add_commit(FOUR.commit(names, 0, X))
    assert keeper.polkas == (FOUR.polka("ABC", 0, X),)
    assert keeper.commits == (FOUR.commit("ABC", 0, X),)
    keeper.add_polka(FOUR.polka("ABC", 1, X, 0))
    keeper.add_polka(FOUR.polka("ABC", 1, X))
    assert [(cert.round, cert.valid_round) for cert in keeper.polkas] == [(0, -1), (1, -1), (1, 0)]
    assert keeper.polka(1, X) == FOUR.polka("ABC", 1, X)


def test_the_round_ahead_counts_each_sender_once_and_is_the_largest(keeper: VoteKeeper) -> None:
    assert keeper.round_ahead(-1) is None
    keeper.add(FOUR.prevote("A", 5, None))
    keeper.add(FOUR.precommit("A", 5, None))
    keeper.add(FOUR.prevote("A", 5, X))
    assert keeper.round_ahead(0) is None
    keeper.add(FOUR.precommit("B", 5, X))
    assert keeper.round_ahead(4) == 5
    assert keeper.round_ahead(5) is None
    keeper.add(FOUR.prevote("C", 3, X))
    keeper.add(FOUR.prevote("D", 3, X))
    assert keeper.round_ahead(0) == 5
    keeper.add(FOUR.prevote("C", 8, X))
    assert keeper.round_ahead(0) == 5
    assert keeper.round_ahead(0, 4) == 3
    assert keeper.round_ahead(3, 4) is None


def test_exactly_a_third_pulls_nobody() -> None:
    three = Committee((1, 1, 1))
    keeper = VoteKeeper(three.validators)
    keeper.add(three.prevote("A", 2, None))
    assert keeper.round_ahead(0) is None
    keeper.add(three.prevote("B", 2, None))
    assert keeper.round_ahead(0) == 2
    keeper.add(three.prevote("A", 2, X))
    assert not keeper.has_quorum_of_any(Prevote, 2)


def test_a_peer_is_sent_what_it_lacks(keeper: VoteKeeper) -> None:
    votes = [FOUR.prevote("A", 1, X), FOUR.prevote("C", 1, X), FOUR.precommit("B", 1, None)]
    for vote in votes:
        keeper.add(vote)
    keeper.add(FOUR.prevote("A", 1, Y))
    ours = keeper.summary(1, has_proposal=True)
    assert ours.has_proposal
    assert keeper.missing(ours) == ()
    nothing = RoundVotes(1, b"\0", b"\0", False)
    assert keeper.summary(7, has_proposal=False) == RoundVotes(7, b"\0", b"\0", False)
    assert sorted(keeper.missing(nothing), key=repr) == sorted(votes, key=repr)
    only_a = RoundVotes(1, bytes([1 << FOUR.index("A")]), b"\0", False)
    assert sorted(keeper.missing(only_a), key=repr) == sorted(votes[1:], key=repr)
    for bad in (RoundVotes(1, b"", b"\0", False), RoundVotes(1, b"\0", b"\x10", False)):
        with pytest.raises(MalformedMessage):
            keeper.missing(bad)


Choice = tuple[int, int, bool]


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2), st.booleans()), max_size=14),
)
def test_tallies_equal_a_plain_recount(powers: list[int], choices: list[Choice]) -> None:
    """Against a model that recounts everything; votes are unsigned, the keeper never looks at signatures."""
    validators = Committee(powers).validators
    total, keeper = validators.total_power, VoteKeeper(validators)
    values = (X, Y, None)
    kept: dict[tuple[type, int], list[bytes | None]] = {}
    for sender, choice, is_prevote in choices:
        index, value = sender % len(powers), values[choice]
        vote = (
            Prevote(1, 0, value, -1, index, bytes(64))
            if is_prevote
            else Precommit(1, 0, value, index, bytes(64))
        )
        held = kept.setdefault((type(vote), index), [])
        expected = value not in held and len(held) == 1
        if value not in held and len(held) < 2:
            held.append(value)
        assert bool(keeper.add(vote)) == expected
    for kind in (Prevote, Precommit):
        by_index = {index: held for (held_kind, index), held in kept.items() if held_kind is kind}
        assert keeper.has_quorum_of_any(kind, 0) == has_quorum(validators.power_of(by_index), total)
        for value in (X, Y):
            power = validators.power_of(index for index, held in by_index.items() if value in held)
            certs = keeper.polkas if kind is Prevote else keeper.commits
            assert any(cert.value_id == value for cert in certs) == has_quorum(power, total)
    nil = validators.power_of(
        index for (kind, index), held in kept.items() if kind is Prevote and None in held
    )
    assert keeper.has_nil_polka(0) == has_quorum(nil, total)
    voice = validators.power_of({index for _, index in kept})
    assert (keeper.round_ahead(-1) == 0) == has_honest_voice(voice, total)


def test_a_forgotten_lock_is_found_among_votes_certificates_and_both() -> None:
    precommit, prevote = FOUR.precommit("B", 1, X), FOUR.prevote("B", 3, Y, 0)
    commit, polka = FOUR.commit("ABC", 1, X), FOUR.polka("BCD", 3, Y, 0)
    forgotten = Amnesia(precommit, prevote)
    for first, second in (
        (lambda k: k.add(precommit), lambda k: k.add(prevote)),
        (lambda k: k.add(prevote), lambda k: k.add(precommit)),
    ):
        keeper = VoteKeeper(FOUR.validators)
        assert (first(keeper), second(keeper)) == ((), (forgotten,))
    keeper = VoteKeeper(FOUR.validators)
    assert keeper.add_commit(commit) == ()
    lies = keeper.add_polka(polka)
    assert {FOUR.name(lie.precommit.validator_index) for lie in lies} == {"B", "C"}
    keeper = VoteKeeper(FOUR.validators)
    assert keeper.add(prevote) == ()
    assert keeper.add_commit(commit) == (forgotten,)


def test_most_votes_bring_no_new_fact(keeper: VoteKeeper) -> None:
    """The engine asks its rules again only where a threshold was passed: not before, and not twice."""
    before = [keeper.changes]
    for vote in (FOUR.prevote("A", 0, X), FOUR.prevote("B", 0, X), FOUR.prevote("C", 0, X)):
        keeper.add(vote)
        before.append(keeper.changes)
    assert before[0] == before[1] < before[2] < before[3]  # A voice; then a quorum and its certificate.
    keeper.add(FOUR.prevote("D", 0, X))
    assert keeper.changes == before[3]


def test_one_vote_can_prove_two_lies(keeper: VoteKeeper) -> None:
    for vote in (FOUR.precommit("A", 1, X), FOUR.prevote("A", 2, None)):
        assert keeper.add(vote) == ()
    lies = keeper.add(FOUR.prevote("A", 2, Y, 0))
    assert [type(lie) for lie in lies] == [DuplicateVote, Amnesia]
