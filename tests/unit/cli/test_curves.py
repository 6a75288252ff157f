"""Curves go where their values are, and a picture never leaves its terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pfed.cli.curves import LABEL, curve

FIGURES = st.dictionaries(st.integers(1, 5_000), st.floats(-1e99, 1e99), max_size=30)


def test_a_line_that_rises_goes_from_the_lower_left_to_the_upper_right() -> None:
    assert curve({1: 0.0, 5: 1.0}, LABEL + 5, 5, is_plain=True) == [
        "  1.000     *",
        "           **",
        "          ** ",
        "         **  ",
        "  0.000 **   ",
    ]


def test_what_does_not_change_is_a_line_in_the_middle() -> None:
    lines = curve({1: 0.5, 9: 0.5}, LABEL + 4, 3, is_plain=True)
    assert [line[LABEL:] for line in lines] == ["    ", "****", "    "]


def test_braille_has_two_by_four_dots_a_character() -> None:
    (line,) = curve({1: 0.0, 2: 1.0}, LABEL + 4, 1)
    assert line[LABEL:] == "⣀⡤⠖⠋"


@pytest.mark.parametrize("shape", [(LABEL + 3, 5), (0, 0), (80, 0)])
def test_no_room_is_no_curve(shape: tuple[int, int]) -> None:
    assert curve({1: 1.0}, *shape) == []


@given(FIGURES, st.integers(0, 120), st.integers(0, 20), st.booleans())
def test_it_stays_in_its_frame(values: dict[int, float], width: int, rows: int, is_plain: bool) -> None:
    lines = curve(values, width, rows, is_plain=is_plain)
    is_drawn = bool(values) and rows > 0 and width >= LABEL + 4
    assert [len(line) for line in lines] == [width] * (rows if is_drawn else 0)
