"""The quorum rule, for every total below 40."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

from p2pfed.consensus.quorum import has_honest_voice, has_quorum
from p2pfed.types.params import STAKE_TOTAL_MAX

TOTAL_MAX = 40


def test_any_two_quorums_share_an_honest_validator() -> None:
    for total in range(1, TOTAL_MAX):
        for first, second in product(range(total + 1), repeat=2):
            if has_quorum(first, total) and has_quorum(second, total):
                assert has_honest_voice(first + second - total, total)


def test_both_thresholds_are_strict() -> None:
    for total in range(1, TOTAL_MAX):
        for power in range(total + 1):
            assert has_quorum(power, total) == (Fraction(power, total) > Fraction(2, 3))
            assert has_honest_voice(power, total) == (Fraction(power, total) > Fraction(1, 3))
        if total % 3 == 0:
            assert not has_quorum(2 * total // 3, total)
            assert not has_honest_voice(total // 3, total)


def test_the_honest_alone_are_a_quorum_where_liars_hold_less_than_a_third() -> None:
    for total in range(1, TOTAL_MAX):
        for lying in range(total + 1):
            if 3 * lying < total:
                assert has_quorum(total - lying, total)
                assert not has_honest_voice(lying, total)


def test_one_unit_of_the_largest_stake_decides() -> None:
    total = STAKE_TOTAL_MAX - STAKE_TOTAL_MAX % 3
    assert not has_quorum(2 * total // 3, total)
    assert has_quorum(2 * total // 3 + 1, total)
    assert not has_honest_voice(total // 3, total)
    assert has_honest_voice(total // 3 + 1, total)
