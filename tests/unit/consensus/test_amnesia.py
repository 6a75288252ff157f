"""A lock that was forgotten is found in any order of the votes, and nowhere else."""

from __future__ import annotations

from itertools import permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pfed.consensus.amnesia import AmnesiaWatch
from p2pfed.types.evidence import Amnesia
from p2pfed.types.vote import Precommit, Prevote, Vote

X, Y, NONE = b"\x01" * 32, b"\x02" * 32, bytes(64)


def precommit(round_: int, value: bytes | None = X, by: int = 0) -> Precommit:
    return Precommit(1, round_, value, by, NONE)


def prevote(round_: int, valid_round: int, value: bytes | None = X, by: int = 0) -> Prevote:
    return Prevote(1, round_, value, valid_round, by, NONE)


def is_forgotten(first: Vote, second: Vote) -> bool:
    """The rule itself, in the words of the spec."""
    return (
        isinstance(first, Precommit)
        and isinstance(second, Prevote)
        and first.validator_index == second.validator_index
        and first.value_id is not None
        and second.value_id is not None
        and second.round > first.round > second.valid_round
    )


def found(votes: list[Vote]) -> list[Amnesia]:
    watch = AmnesiaWatch()
    return [lie for vote in votes if (lie := watch.add(vote)) is not None]


votes = st.lists(
    st.one_of(
        st.builds(precommit, st.integers(0, 9), st.sampled_from([None, X, Y]), st.integers(0, 1)),
        st.builds(
            lambda round_, back, value, by: prevote(round_, round_ - back if value else -1, value, by),
            st.integers(0, 9),
            st.integers(1, 4),
            st.sampled_from([None, X, Y]),
            st.integers(0, 1),
        ),
    ),
    max_size=14,
)


@given(votes)
def test_a_sender_is_caught_exactly_where_two_of_its_votes_contradict(said: list[Vote]) -> None:
    proofs = found(said)
    guilty = {a.validator_index for a, b in product(said, said) if is_forgotten(a, b)}
    assert sorted(guilty) == sorted(proof.precommit.validator_index for proof in proofs)
    for proof in proofs:
        assert is_forgotten(proof.precommit, proof.prevote)
        assert proof.precommit in said
        assert proof.prevote in said


def test_every_order_of_a_small_world_finds_the_same_sender() -> None:
    world = [precommit(1), prevote(1, -1), prevote(2, 1), prevote(4, 0), precommit(4)]
    for order in permutations(world):
        (proof,) = found(list(order))
        assert (proof.precommit, proof.prevote) == (world[0], world[3])


@pytest.mark.parametrize(
    "said",
    [
        [precommit(1), prevote(1, -1)],  # The precommit's own polka.
        [precommit(1), prevote(2, 1)],  # Unlocked by a polka of the very round.
        [precommit(1), prevote(3, 2)],
        [precommit(2), prevote(1, -1)],
        [precommit(1, None), prevote(2, -1)],
        [precommit(1), prevote(2, -1, None)],
        [precommit(1, by=1), prevote(2, -1)],
    ],
)
def test_what_an_honest_validator_may_say_is_no_lie(said: list[Vote]) -> None:
    assert found(said) == found(said[::-1]) == []


def test_the_same_value_prevoted_as_fresh_is_a_lie_too() -> None:
    assert found([precommit(0, X), prevote(1, -1, X)]) == [Amnesia(precommit(0, X), prevote(1, -1, X))]


def test_a_prevote_whose_gap_lies_within_anothers_hides_nothing() -> None:
    wide, narrow, lock = prevote(5, 0), prevote(4, 2), precommit(4)
    for order in permutations([wide, narrow, lock]):
        assert found(list(order)) == [Amnesia(lock, wide)]


def test_a_sender_is_proven_guilty_once_and_costs_no_memory_after_that() -> None:
    watch = AmnesiaWatch()
    said = [vote for round_ in range(50) for vote in (prevote(round_, -1), precommit(round_))]
    assert sum(watch.add(vote) is not None for vote in said) == 1
    assert watch._said == {}


def test_a_long_honest_height_keeps_one_fresh_prevote_for_each_validator() -> None:
    for rounds in (range(200), reversed(range(200))):
        watch = AmnesiaWatch()
        assert [watch.add(prevote(round_, -1)) for round_ in rounds] == [None] * 200
        assert len(watch._said[0].prevotes) == 1
