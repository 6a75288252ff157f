"""Curves of characters: values over heights, two by four dots a character, or stars without those."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # Braille: the bit of each column's four dots.
_BLANK = 0x2800
LABEL = 8  # Columns of the numbers at the left edge.


def curve(values: Mapping[int, float], width: int, rows: int, *, is_plain: bool = False) -> list[str]:
    """Return `rows` lines of at most `width` columns: the curve with the range of its values at the left.

    Args:
        values: Height -> value, all finite.
        width: Columns of the terminal, numbers included.
        rows: Lines.
        is_plain: ASCII only.
    """
    cells = width - LABEL
    if not values or cells < 4 or rows < 1:
        return []
    heights = sorted(values)
    first, last = heights[0], heights[-1]
    low, high = min(values.values()), max(values.values())
    across, up = (1, 1) if is_plain else (2, 4)
    columns, dots = cells * across, rows * up
    grid = [[0] * cells for _ in range(rows)]
    before: int | None = None
    for column in range(columns):
        place = first + (last - first) * column / max(columns - 1, 1)
        level = (_at(values, heights, place) - low) / (high - low) if high > low else 0.5
        here = round((1 - level) * (dots - 1))
        start = here if before is None else before
        for dot in range(min(start, here), max(start, here) + 1):
            grid[dot // up][column // across] |= 1 if is_plain else _DOTS[column % 2][dot % 4]
        before = here
    drawn = [
        "".join(("*" if cell else " ") if is_plain else chr(_BLANK + cell) for cell in line) for line in grid
    ]
    labels = [""] * rows
    labels[-1] = _number(low)
    labels[0] = _number(high)
    return [f"{label:>{LABEL - 1}} {line}" for label, line in zip(labels, drawn, strict=True)]


def _number(value: float) -> str:
    """Return a value in less than LABEL columns."""
    text = f"{value:.3f}"
    return text if len(text) < LABEL else f"{value:.0e}"


def _at(values: Mapping[int, float], heights: list[int], place: float) -> float:
    """Return the value at a place between two heights, on the line from one to the other."""
    right = min(bisect_left(heights, place), len(heights) - 1)
    after = heights[right]
    before = heights[max(right - 1, 0)]
    if after == before:
        return values[after]
    share = (place - before) / (after - before)
    return values[before] + (values[after] - values[before]) * share
