"""Scores: honest work is seen, free riders and clones are not paid for, and the numbers are exact."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from p2pfed.aggregation.contribution import (
    CLONE_COSINE,
    clone_groups,
    common_products,
    contribution,
    group_products,
    pairwise_cosines,
    quantile,
    score_values,
)
from p2pfed.aggregation.growing import Tables
from p2pfed.aggregation.sketch import UNIT, cosines_with, signs, sketch
from p2pfed.primitives.digest import tagged
from p2pfed.types.model import ArraySpec, Group, Manifest

CHAIN = bytes(range(32))
GROUPS = Manifest(
    (
        ArraySpec("weight", (30, 20), "float32", "trained", nonnegative=False),
        ArraySpec("bias", (70,), "float32", "trained", nonnegative=False),
    )
).groups
SIZE = 670
EXPONENTS = [12, 14]
Row = NDArray[np.int16]


def honest(count: int, height: int = 1, spread: int = 1500) -> list[Row]:
    """Return updates that share a direction, as those of trainers with data of one kind do."""
    dice = np.random.default_rng(height)
    common = dice.normal(0, 1000, SIZE)
    return [(common + dice.normal(0, spread, SIZE)).astype(np.int16) for _ in range(count)]


def scored(
    rows: list[Row], bonds: list[int], past: tuple[bytes, ...] = (), products: Tables | None = None
) -> tuple[int, ...]:
    return contribution(
        GROUPS,
        rows,
        bonds,
        update_exponents=EXPONENTS,
        aggregate=np.zeros(SIZE, np.int32),
        model_exponents=[20, 20],
        sign=signs(CHAIN, SIZE),
        past=past,
        products=products,
    ).values


def sketches(rows: list[Row]) -> tuple[bytes, ...]:
    return tuple(sketch(row, EXPONENTS, GROUPS, signs(CHAIN, SIZE)) for row in rows)


def pay(values: tuple[int, ...], bonds: list[int]) -> list[int]:
    return [value * bond for value, bond in zip(values, bonds, strict=True)]


def test_honest_updates_score_alike_and_a_lone_one_nothing() -> None:
    values = scored(honest(8), [10] * 8)
    assert min(values) > UNIT // 8
    assert max(values) < 2 * min(values)
    assert scored(honest(1), [10]) == (0,)


@pytest.mark.parametrize("kind", ["zero", "noise", "aggregate", "own", "others"])
def test_a_free_rider_gets_at_most_a_tenth_of_an_honest_trainer(kind: str) -> None:
    before, rows = honest(7, height=1), honest(6, height=2)
    # Most of what honest trainers send is as it was the height before: that is no replay.
    rows = [(row + old).astype(np.int16) for row, old in zip(rows, before, strict=False)]
    aggregate = np.mean(before, axis=0).astype(np.int16)
    past = sketches([aggregate, *before])
    riders = {
        "zero": np.zeros(SIZE, np.int16),
        "noise": np.random.default_rng(5).normal(0, 2000, SIZE).astype(np.int16),
        "aggregate": aggregate,
        "own": before[6],
        "others": before[0],
    }
    values = scored([*rows, riders[kind]], [10] * 7, past)
    assert 10 * values[6] <= min(values[:6]), values
    assert min(values[:6]) > UNIT // 10, values


def test_a_copy_shares_one_reward_with_what_it_copies() -> None:
    rows = honest(6)
    alone = scored(rows, [10] * 6)
    copied = scored([*rows, rows[2]], [10] * 7)
    assert copied[2] == copied[6] <= UNIT // 2
    assert copied[2] + copied[6] <= max(alone) * 21 // 20
    assert min(copied[place] for place in (0, 1, 3, 4, 5)) > 3 * copied[2] // 2


@pytest.mark.parametrize("spread", [0, 100, 300, 1000])
def test_ten_identities_earn_no_more_than_one(spread: int) -> None:
    """A splitter divides its bond by ten, and makes its ten updates as different as it likes."""
    rows, dice = honest(9), np.random.default_rng(3)
    single = pay(scored(rows, [100] * 9), [100] * 9)[0]
    parts = [(rows[0] + dice.normal(0, spread + 1, SIZE)).astype(np.int16) for _ in range(10)]
    bonds = [100] * 8 + [10] * 10
    split = pay(scored([*rows[1:], *parts], bonds), bonds)
    assert sum(split[8:]) <= single


def test_liars_of_a_third_neither_score_by_each_other_nor_lower_the_others() -> None:
    rows = honest(7)
    together = np.random.default_rng(8).normal(0, 3000, SIZE)
    liars = [
        (together + np.random.default_rng(seed).normal(0, 900, SIZE)).astype(np.int16)
        for seed in (101, 102, 103)
    ]
    values, alone = scored([*rows, *liars], [10] * 10), scored(rows, [10] * 7)
    assert 4 * max(values[7:]) <= min(values[:7])
    assert 2 * sum(values[:7]) > sum(alone)


def test_nobody_earns_more_than_the_usual_by_agreeing_with_everybody() -> None:
    rows = honest(8)
    middle = np.mean(rows, axis=0).astype(np.int16)
    values = scored([*rows, middle], [10] * 9)
    assert values[8] <= max(values[:8])


def test_what_two_thirds_send_again_is_usual_and_what_is_more_so_counts_less() -> None:
    cosines = [[0 if i == j else UNIT // 2 for j in range(6)] for i in range(6)]
    shares = 92, 93, 94, 95, 98, 100
    replays = [UNIT * share // 100 for share in shares]
    values = score_values(cosines, replays, [1] * 6, [(1, 1)] * 6, SIZE)
    free = score_values(cosines, [0] * 6, [1] * 6, [(1, 1)] * 6, SIZE)
    assert values[:4] == free[:4]
    assert values[4] == pytest.approx(free[4] * 2 / 5, rel=0.01)  # 2 percent from a replay where 5 are usual.
    assert values[5] == 0
    assert score_values(cosines, [UNIT] * 6, [1] * 6, [(1, 1)] * 6, SIZE) == free


def test_an_older_update_is_worth_less_and_no_other_pays_for_it() -> None:
    def of_ages(ages: list[int]) -> tuple[int, ...]:
        cosines = [[0 if i == j else UNIT // 2 for j in range(6)] for i in range(6)]
        lateness = [(5 - age, 5) for age in ages]
        return score_values(cosines, [0] * 6, [1] * 6, lateness, SIZE)

    now, late = of_ages([0] * 6), of_ages([0, 0, 0, 0, 1, 4])
    assert late[4] == now[4] * 4 // 5
    assert late[5] == now[5] // 5
    assert late[:4] == now[:4]


def test_the_age_of_an_update_reaches_its_score() -> None:
    rows = honest(6)

    def of_ages(*ages: int) -> tuple[int, ...]:
        return contribution(
            GROUPS,
            rows,
            [10] * 6,
            update_exponents=EXPONENTS,
            aggregate=np.zeros(SIZE, np.int32),
            model_exponents=[20, 20],
            sign=signs(CHAIN, SIZE),
            past=(),
            ages=ages,
            update_lag=2,
        ).values

    now, late = of_ages(), of_ages(0, 0, 0, 0, 0, 1)
    assert now == of_ages(0, 0, 0, 0, 0, 0)
    assert late[5] <= now[5] * 2 // 3
    assert late[5] > 0
    assert sum(late[:5]) > 9 * sum(now[:5]) // 10


@given(st.permutations(range(6)), st.integers(1, 5), st.data())
def test_scores_follow_their_updates_and_know_no_unit(
    order: list[int], factor: int, data: st.DataObject
) -> None:
    dice = np.random.default_rng(data.draw(st.integers(0, 1000)))
    rows = [dice.integers(-500, 500, SIZE).astype(np.int16) for _ in range(6)]
    bonds = data.draw(st.lists(st.integers(1, 1 << 56), min_size=6, max_size=6))
    values = scored(rows, bonds)
    assert scored([rows[place] for place in order], [bonds[place] for place in order]) == tuple(
        values[place] for place in order
    )
    assert scored([(row * factor).astype(np.int16) for row in rows], bonds) == values
    assert all(0 <= value <= UNIT for value in values)


def test_products_of_groups_are_added_in_the_finest_unit() -> None:
    rows = honest(4)
    scale = np.array([1 << (14 - 12)] * 600 + [1] * 70, object)
    exact = [[int(((a * scale) * (b * scale)).sum()) for b in rows] for a in rows]
    assert common_products(group_products(GROUPS, rows, map), EXPONENTS) == exact


def test_a_cosine_is_rounded_down_and_never_above_one() -> None:
    assert pairwise_cosines([[4, -3], [-3, 9]]) == [[0, -32768], [-32768, 0]]
    assert pairwise_cosines([[3, 3], [3, 3]])[0][1] == UNIT
    assert pairwise_cosines([[0, 0], [0, 9]]) == [[0, 0], [0, 0]]


def test_the_middle_is_by_weight() -> None:
    assert quantile([(5, 1), (1, 1), (9, 1)], 1, 2, 3) == 5
    assert quantile([(5, 1), (1, 4), (9, 1)], 1, 2, 6) == 1
    assert quantile([(5, 3), (1, 3)], 1, 2, 6) == 1
    assert quantile([(5, 1), (1, 1), (9, 1)], 2, 3, 3) == 5


def test_what_is_alike_only_by_a_third_is_one_group_of_clones() -> None:
    near, far = UNIT * 995 // 1000, UNIT // 4
    cosines = [[0, near, far, far], [near, 0, near, far], [far, near, 0, far], [far, far, far, 0]]
    assert clone_groups(cosines, [1] * 4) == [[0, 1, 2]]
    assert clone_groups([[0, near], [near, 0]], [1, 1]) == []  # Two alone: nobody knows what is usual.
    assert score_values(cosines, [0] * 4, [1] * 4, [(1, 1)] * 4, SIZE)[3] > 0


def test_clones_that_earn_nothing_share_nothing() -> None:
    near = UNIT * 995 // 1000
    cosines = [[0, near, 0], [near, 0, 0], [0, 0, 0]]
    assert clone_groups(cosines, [1] * 3) == [[0, 1]]
    assert score_values(cosines, [0] * 3, [1] * 3, [(1, 1)] * 3, SIZE) == (0, 0, 0)


def test_clones_are_nearer_than_two_bounds_allow() -> None:
    def clones(near: int, far: int) -> list[list[int]]:
        return clone_groups([[0, near, far], [near, 0, far], [far, far, 0]], [1] * 3)

    # Ten times nearer than usual, and nearer than 0.98 whatever is usual.
    assert clones(CLONE_COSINE + 1, 0) == [[0, 1]]
    assert clones(CLONE_COSINE, 0) == clones(UNIT * 95 // 100, 0) == []
    assert clones(UNIT - 999, UNIT - 10_000) == [[0, 1]]
    assert clones(UNIT - 1000, UNIT - 10_000) == []


def test_the_sign_of_a_coordinate_is_its_bit_of_a_hash_of_its_block() -> None:
    sign, key = signs(CHAIN, 600), tagged("signs", CHAIN)
    for place in range(600):
        digest = hashlib.sha256(key + (place // 256).to_bytes(8, "big")).digest()
        assert sign[place] == 1 - 2 * (int.from_bytes(digest, "little") >> place % 256 & 1)


def test_a_sketch_is_the_sum_of_signed_coordinates_whatever_the_unit() -> None:
    row, sign = honest(1)[0], signs(CHAIN, SIZE)
    totals = [0] * 128
    for place in range(SIZE):
        totals[place % 128] += int(sign[place]) * int(row[place]) << (2 if place < 600 else 0)
    largest = max(map(abs, totals))
    assert sketch(row, EXPONENTS, GROUPS, sign) == struct.pack(
        "<128h", *(value * 32767 // largest for value in totals)
    )
    wide = (row.astype(np.int32)) << 8
    assert sketch(wide, [20, 22], GROUPS, sign) == sketch(row, EXPONENTS, GROUPS, sign)
    assert sketch(np.zeros(SIZE, np.int16), EXPONENTS, GROUPS, sign) == bytes(256)


@pytest.mark.parametrize("dtype", [np.int16, np.int32])
def test_a_sketch_of_many_blocks_is_exact_at_the_largest_values(
    dtype: type[np.int16] | type[np.int32],
) -> None:
    size, first = (1 << 18) + (1 << 13) + 333, 77
    largest = 32767 if dtype is np.int16 else (1 << 29) - 1
    sign = signs(CHAIN, size)
    row = (sign * (np.arange(size) % 5 + largest - 4)).astype(dtype)  # Signed they are all of one sign.
    row[::3] //= -7
    groups = [Group(*place, kind="trained", nonnegative=False) for place in ((0, first), (first, size))]
    totals = [0] * 128
    for bucket in range(128):
        places = np.arange(bucket, size, 128)
        small, large = places[places < first], places[places >= first]
        values = [np.sum(row[of].astype(np.int64) * sign[of]) for of in (small, large)]
        totals[bucket] = (int(values[0]) << 3) + int(values[1])
    scale = max(map(abs, totals))
    assert sketch(row, [12, 15], groups, sign) == struct.pack(
        "<128h", *(value * 32767 // scale for value in totals)
    )


def test_products_that_somebody_has_measured_change_no_score() -> None:
    rows = honest(5)
    tables = group_products(GROUPS, rows, map)
    assert scored(rows, [10] * 5, products=tables) == scored(rows, [10] * 5)
    assert scored(rows, [10] * 5, products=[0 * table for table in tables]) == (0,) * 5


def test_the_cosine_of_sketches_is_near_that_of_the_vectors() -> None:
    rows = honest(6)
    exact = pairwise_cosines(common_products(group_products(GROUPS, rows, map), EXPONENTS))
    found = cosines_with(sketches(rows), sketches(rows))
    for i in range(6):
        assert found[i][i] in (UNIT, UNIT - 1)
        assert all(abs(found[i][j] - exact[i][j]) < UNIT // 3 for j in range(6) if j != i)


def test_the_largest_values_of_many_groups_are_exact() -> None:
    groups = tuple(Group(start, start + 300, "trained", False) for start in range(0, 900, 300))
    rows = [np.full(900, 32767, np.int16), np.full(900, -32767, np.int16)]
    square = 300 * 32767**2
    expected = square * (1 + (1 << 40) + (1 << 76))
    assert common_products(group_products(groups, rows, map), [30, 10, -8])[0] == [expected, -expected]
