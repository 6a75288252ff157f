"""chart.svg: a figure over heights of several trainings, readable in grey and on a narrow screen."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from xml.sax.saxutils import escape

from msgspec import Struct

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 56, 24, 24, 104
# Okabe and Ito's colours, which colour-blind people tell apart; dashes tell the lines apart in print.
STYLES = (("#0072B2", ""), ("#D55E00", "8 4"), ("#555555", "2 4"))
AXIS = "accuracy on the public test set"


class Curve(Struct, frozen=True):
    """One training: its label and its figure after each height."""

    label: str
    figures: tuple[float, ...]


def chart_svg(title: str, curves: Sequence[Curve], axis: str = AXIS, top: float = 1.0, first: int = 1) -> str:
    """Return the chart as SVG text: the first len(STYLES) curves, from 0 to `top`, from height `first` on.

    A figure beyond the edges, or none at all (NaN), is drawn at an edge.
    """
    heights = max((len(curve.figures) for curve in curves), default=1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="13">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
    ]
    for step in range(0, 11, 2):
        y = _y(step / 10)
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#dddddd"/>')
        value = f"{step / 10:.1f}" if top == 1 else f"{top * step / 10:.3g}"
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value}</text>')
    for height in _ticks(heights):
        x = _x(height, heights)
        told = height + first - 1
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{told}</text>')
    parts.append(
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - BOTTOM + 34}" text-anchor="end">'
        "height (federated turn)</text>"
    )
    parts.append(f'<text x="{LEFT}" y="{TOP - 8}">{escape(axis)}</text>')
    for place, (curve, (colour, dashes)) in enumerate(zip(curves, STYLES, strict=False)):
        shares = [min(max(figure / top, 0.0), 1.0) if isfinite(figure) else 1.0 for figure in curve.figures]
        parts += _curve(shares, heights, colour, dashes)
        y = HEIGHT - BOTTOM + 52 + 18 * place
        parts.append(
            f'<line x1="{LEFT}" y1="{y - 4}" x2="{LEFT + 36}" y2="{y - 4}" stroke="{colour}" '
            f'stroke-width="2.5" stroke-dasharray="{dashes}"/>'
        )
        last = f"{curve.figures[-1]:.3f}" if curve.figures else "none"
        parts.append(f'<text x="{LEFT + 44}" y="{y}">{escape(curve.label)}: {last}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _curve(shares: Sequence[float], heights: int, colour: str, dashes: str) -> list[str]:
    points = [(_x(height, heights), _y(share)) for height, share in enumerate(shares, start=1)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    stroke = f'stroke="{colour}" stroke-width="2.5" stroke-dasharray="{dashes}"'
    line = f'<polyline points="{path}" fill="none" {stroke}/>'
    return [line, *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in points)]


def _ticks(heights: int) -> range:
    return range(1, heights + 1, max(1, -(-heights // 10)))


def _x(height: int, heights: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * (height - 1) / max(1, heights - 1)


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share
