"""The one division rounds half up, in model units, for every pair of exponents."""

from __future__ import annotations

import numpy as np
import pytest

from p2pfed.aggregation.division import RuleSum, fits_int32, model_units


def divided(totals: list[int], denominator: int, e: int, m: int) -> list[int]:
    return model_units(RuleSum(np.array(totals, np.int64), denominator), e, m).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("denominator", "e", "m"),
    [(3, 0, 14), (4, 0, 14), (65535, 4, 4), (65536, 4, 4), (16, 12, 0), (1, 30, 30)],
)
def test_int32_holds_what_is_said_to_fit(denominator: int, e: int, m: int) -> None:
    assert fits_int32(denominator, e, m)
    totals = [32767 * denominator, -32767 * denominator, 1, -1, 0]
    narrow = model_units(RuleSum(np.array(totals, np.int32), denominator), e, m)
    assert narrow.tolist() == divided(totals, denominator, e, m)


@pytest.mark.parametrize(("denominator", "e", "m"), [(5, 0, 14), (65537, 4, 4), (17, 12, 0)])
def test_one_unit_more_needs_int64(denominator: int, e: int, m: int) -> None:
    assert not fits_int32(denominator, e, m)


def test_halves_go_up() -> None:
    assert divided([-3, -2, -1, 0, 1, 2, 3], 2, 0, 0) == [-1, -1, 0, 0, 1, 1, 2]


def test_an_odd_denominator_rounds_to_the_nearest() -> None:
    assert divided([-2, -1, 0, 1, 2], 3, 0, 0) == [-1, 0, 0, 0, 1]


def test_a_finer_model_unit_keeps_what_the_update_unit_would_lose() -> None:
    assert divided([1, -1], 3, 0, 14) == [5461, -5461]


def test_a_coarser_model_unit_rounds_once() -> None:
    # 11 / 2 / 4 = 1.375; rounding to 6 first would give 6 / 4 = 1.5 and then 2.
    assert divided([11], 2, 2, 0) == [1]


@pytest.mark.parametrize(("e", "m"), [(30, 0), (16, 30), (-8, 6), (-8, 0), (30, 30), (0, 14)])
@pytest.mark.parametrize("denominator", [1, 512 * 512, 1 << 30])
def test_extreme_sums_do_not_wrap(e: int, m: int, denominator: int) -> None:
    largest = 32767 * denominator
    wide, narrow = denominator << max(0, e - m), 1 << max(0, m - e)
    expected = [(total * narrow + wide // 2) // wide for total in (-largest, largest)]
    assert divided([-largest, largest], denominator, e, m) == expected
    assert max(map(abs, expected)) < 2**29
