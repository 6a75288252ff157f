"""The module that pays: who gets which part, and that nothing else is created."""

from __future__ import annotations

import pytest

from p2pfed.ledger.module import Context, Credit, Reward
from p2pfed.ledger.modules.contribution import ContributionState, Standing, execute, leaves, payments
from p2pfed.types.genesis import Params

A, B, C = (bytes([number]) * 33 for number in (2, 3, 4))
SKETCH = bytes(256)
VOTERS = ((A, 10), (B, 10), (C, 20))
CONTEXT = Context(bytes(32), Params("local", ("mean",), 1, 12, 0, 0, emission=1000), 7, 70, C)


def reward(scores: dict[bytes, int], available: str = "ABC", committed: str = "ABC") -> Reward:
    names = {"A": A, "B": B, "C": C}
    return Reward(
        trainers=VOTERS,
        scores=tuple(scores.items()),
        sketches=(SKETCH,) * (1 + len(scores)) if scores else (),
        available=(frozenset(names[name] for name in available), VOTERS),
        committed=(frozenset(names[name] for name in committed), VOTERS),
    )


def test_trainers_are_paid_by_bond_and_score_of_what_all_of_them_might_earn() -> None:
    pay = payments(reward({A: 1 << 16, B: 1 << 15}, "", ""), 1000, C)
    assert pay == {A: 700 * 10 // 40, B: 700 * 10 // 80}


def test_each_vote_is_paid_by_power_and_the_proposer_by_what_is_above_two_thirds() -> None:
    assert payments(reward({}), 1000, C) == {A: 2 * 25, B: 2 * 25, C: 2 * 50 + 2 * 25}
    # 30 of 40 power is a quarter of the way from two thirds to all of it.
    assert payments(reward({}, "AC", ""), 1000, C) == {A: 25, C: 50 + 50 * 10 // 80}
    assert payments(reward({}, "A", ""), 1000, C) == {A: 25}


@pytest.mark.parametrize("emission", [0, 1, 19, 999, 1 << 40])
def test_no_more_than_95_percent_is_ever_created(emission: int) -> None:
    pay = payments(reward({A: 1 << 16, B: 1 << 16, C: 1 << 16}), emission, C)
    assert sum(pay.values()) <= emission * 95 // 100
    assert all(pay.values())


def test_what_is_paid_is_credited_and_missing_from_what_is_left() -> None:
    state = ContributionState((Standing(B, 5, 9),), (SKETCH,), 10_000)
    after, calls = execute(reward({A: 1 << 16}), CONTEXT, state)
    assert after.left == 10_000 - sum(call.amount for call in calls if isinstance(call, Credit))
    assert [call.key for call in calls] == [A, B, C]  # type: ignore[union-attr]
    assert after.standings == (
        Standing(A, 175 + 50, 1 << 16),
        Standing(B, 5 + 50, 9),
        Standing(C, 100 + 50, 0),
    )
    assert len(after.past) == 2


def test_where_nothing_was_merged_the_sketches_stay() -> None:
    state = ContributionState((), (SKETCH, SKETCH), 10_000)
    assert execute(reward({}), CONTEXT, state)[0].past == state.past


def test_a_pay_that_exceeds_what_is_left_is_not_paid_at_all() -> None:
    after, calls = execute(reward({A: 1 << 16}), CONTEXT, ContributionState((), (), 100))
    assert calls == ()
    assert after.left == 100
    assert after.standings == (Standing(A, 0, 1 << 16),)


def test_the_very_last_that_may_be_created_is_paid() -> None:
    whole = sum(payments(reward({A: 1 << 16}), 1000, C).values())
    assert execute(reward({A: 1 << 16}), CONTEXT, ContributionState((), (), whole))[0].left == 0
    assert execute(reward({A: 1 << 16}), CONTEXT, ContributionState((), (), whole - 1))[0].left == whole - 1


def test_each_key_has_a_standing_of_its_own_once_it_has_worked() -> None:
    state = ContributionState((Standing(A, 1, 2), Standing(B, 3, 4)), (), 5)
    assert [state.standing(key) for key in (A, B, C)] == [*state.standings, None]


def test_the_leaves_cover_every_field_and_an_empty_slice_has_none() -> None:
    assert list(leaves(ContributionState())) == []
    state = ContributionState((Standing(A, 1, 2),), (SKETCH, SKETCH), 3)
    assert [key for key, _ in leaves(state)] == [b"left", b"past\0\0", b"past\0\1", A]
