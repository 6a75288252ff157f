"""Pictures for programs: the figures of several trainings over heights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

from p2pfed.errors import UsageError
from p2pfed.runtime.demo.chart import AXIS, STYLES, Curve, chart_svg


def chart(
    curves: Mapping[str, Sequence[float]],
    title: str = "",
    *,
    axis: str = AXIS,
    top: float = 1.0,
    first: int = 1,
) -> str:
    """Return a line chart as SVG text, to be written to a file or shown in a notebook.

    Args:
        curves: One to three curves by their label: a figure after each height, as `Simulated.curve` gives
            them. The last figure of each is written beside its label.
        title: For whoever can't see the picture.
        axis: What the figures are.
        top: The figure at the upper edge; the lower one is 0. What lies beyond is drawn at the edge.
        first: The height of the first figures.

    Raises:
        UsageError: No curve or more than three, or a `top` that is not above 0.
    """
    if not 1 <= len(curves) <= len(STYLES):
        raise UsageError(f"{len(curves)} curves; a chart shows 1 to {len(STYLES)}")
    if not (isfinite(top) and top > 0):
        raise UsageError(f"top={top}: the upper edge of a chart is a number above 0")
    drawn = [Curve(label, tuple(map(float, figures))) for label, figures in curves.items()]
    return chart_svg(title, drawn, axis, top, first)
