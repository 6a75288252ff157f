"""The heat map of a matrix as SVG: readable at 400 pixels, in grey, and for colour-blind eyes."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from p2pfed.sim.matrix.plan import NONE, Plan
from p2pfed.sim.matrix.summary import Panel, Square

# Cividis (Nuñez et al. 2018): even in lightness, the same for all kinds of colour blindness.
_SCALE = ("#00224e", "#2a3f6d", "#575d6d", "#7d7c78", "#a59c74", "#d2c060", "#fee838")
_DARK_BELOW = 0.47  # Below it white figures stand out more than black ones.
_SQUARE = 26
_CHARACTER = 6.6  # Width of a character at the size of the labels, in a wide font.
_TITLE, _GAP, _LEGEND = 24, 16, 44
_FONT = 11


def heat_map_svg(plan: Plan, panels: Sequence[Panel]) -> str:
    """Return the picture: a panel a split, rules across, attacks down, the worst attack below them."""
    left = 10 + _CHARACTER * max(map(len, (*plan.attacks, "worst attack")))
    head = 10 + _CHARACTER * max(map(len, plan.rules))
    lines = len(plan.attacks) + 1
    panel_height = _TITLE + head + lines * _SQUARE + _GAP + 4
    width = max(left + len(plan.rules) * _SQUARE + 8, 220)
    height = len(panels) * panel_height + _LEGEND
    low, high = _range(panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" font-family="system-ui, sans-serif" '
        f'font-size="{_FONT}">',
        f"<title>{escape(f'{plan.metric} of {plan.app}: rules against attacks')}</title>",
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>',
    ]
    for place, panel in enumerate(panels):
        parts += _panel(plan, panel, left, place * panel_height, head, (low, high))
    parts += _legend(plan, left, len(panels) * panel_height, (low, high))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _range(panels: Sequence[Panel]) -> tuple[float, float]:
    """Return the ends of the scale: 0 and 1 where every value lies between, as accuracies do."""
    values = [
        square.value for panel in panels for square in panel.squares.values() if square.value is not None
    ]
    low, high = min(values, default=0.0), max(values, default=1.0)
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    return low, high if high > low else low + 1


def _panel(
    plan: Plan, panel: Panel, left: float, top: float, head: float, ends: tuple[float, float]
) -> list[str]:
    title = f"{panel.split}, {panel.faulty} of {plan.peers} lie"
    parts = [f'<text x="6" y="{top + 17:.1f}" font-size="13" font-weight="600">{escape(title)}</text>']
    grid = top + _TITLE + head
    for column, rule in enumerate(plan.rules):
        x = left + (column + 0.5) * _SQUARE + 4
        parts.append(f'<text transform="translate({x:.1f} {grid - 5:.1f}) rotate(-90)">{escape(rule)}</text>')
    for line, attack in enumerate(plan.attacks):
        y = grid + line * _SQUARE
        name = "nobody lies" if attack == NONE else attack
        parts.append(_label(name, left, y))
        for column, rule in enumerate(plan.rules):
            x = left + column * _SQUARE
            parts += _square(panel.squares[rule, attack], f"{rule}, {name}, {title}", x, y, ends)
    y = grid + len(plan.attacks) * _SQUARE + 4
    parts.append(_label("worst attack", left, y, weight=600))
    for column, rule in enumerate(plan.rules):
        worst = panel.worst(plan, rule)
        square = Square(worst[0] if worst else None, 1 if worst else 0, 0, "")
        about = f"{rule}, worst: {worst[1] if worst else 'unknown'}, {title}"
        parts += _square(square, about, left + column * _SQUARE, y, ends)
    return parts


def _label(text: str, left: float, y: float, weight: int = 400) -> str:
    return (
        f'<text x="{left - 5:.1f}" y="{y + 17:.1f}" text-anchor="end" font-weight="{weight}">'
        f"{escape(text)}</text>"
    )


def _square(square: Square, about: str, x: float, y: float, ends: tuple[float, float]) -> list[str]:
    size = _SQUARE - 1
    middle, base = x + size / 2, y + 17
    if square.value is None:
        sign, why = ("×", f"failed: {square.error}") if square.failed else ("·", "not run yet")
        return [
            f"<g><title>{escape(f'{about}: {why}')}</title>"
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{size}" height="{size}" fill="#ffffff" stroke="#999999"/>'
            f'<text x="{middle:.1f}" y="{base:.1f}" text-anchor="middle">{sign}</text></g>'
        ]
    share = (square.value - ends[0]) / (ends[1] - ends[0])
    ink = "#ffffff" if share < _DARK_BELOW else "#000000"
    seeds = f"{square.done} seed{'s' if square.done > 1 else ''}"
    return [
        f"<g><title>{escape(f'{about}: {square.value:.4g} ({seeds})')}</title>"
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{size}" height="{size}" fill="{_colour(share)}"/>'
        f'<text x="{middle:.1f}" y="{base:.1f}" text-anchor="middle" fill="{ink}">'
        f"{_figure(square.value)}</text></g>"
    ]


def _figure(value: float) -> str:
    """Return a value in at most four characters: `.84`, `1.0`, `12`."""
    if 0 <= value < 0.995:
        return f"{value:.2f}"[1:]
    return f"{value:.1f}" if abs(value) < 10 else f"{value:.0f}"


def _colour(share: float) -> str:
    place = min(max(share, 0.0), 1.0) * (len(_SCALE) - 1)
    first = min(int(place), len(_SCALE) - 2)
    mix = place - first
    channels = [
        round(int(_SCALE[first][at : at + 2], 16) * (1 - mix) + int(_SCALE[first + 1][at : at + 2], 16) * mix)
        for at in (1, 3, 5)
    ]
    return "#" + "".join(f"{channel:02x}" for channel in channels)


def _legend(plan: Plan, left: float, top: float, ends: tuple[float, float]) -> list[str]:
    steps, wide = 20, 8
    parts = [
        f'<rect x="{left + step * wide:.1f}" y="{top + 4:.1f}" width="{wide + 0.5}" height="10" '
        f'fill="{_colour(step / (steps - 1))}"/>'
        for step in range(steps)
    ]
    right = left + steps * wide
    parts.append(
        f'<text x="{left - 5:.1f}" y="{top + 13:.1f}" text-anchor="end">{escape(plan.metric)}</text>'
    )
    parts.append(f'<text x="{left:.1f}" y="{top + 28:.1f}">{ends[0]:.3g}</text>')
    parts.append(f'<text x="{right:.1f}" y="{top + 28:.1f}" text-anchor="end">{ends[1]:.3g}</text>')
    parts.append(f'<text x="6" y="{top + 40:.1f}" font-size="9">× failed, · not run yet</text>')
    return parts
