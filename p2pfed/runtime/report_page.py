"""report.html: runs side by side on one page that needs nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from p2pfed.runtime.runs import Run

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 260, 56, 16, 12, 28
POINTS_MAX = 400  # Of one curve: more would lie on one another.
NOTES_MAX = 200
REPORT_MODE = 0o644
# Okabe and Ito's colours, which colour-blind people tell apart; dashes tell the lines apart in print.
STYLES = (
    ("#0072B2", ""),
    ("#D55E00", "8 4"),
    ("#009E73", "2 4"),
    ("#CC79A7", "10 3 2 3"),
    ("#7a7a7a", "4 2"),
)
_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>p2pfed report</title>
<style>
:root { color-scheme: light dark; --ink: #1b1f24; --quiet: #59636e; --line: #d1d9e0; --paper: #fff;
  --bad: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --quiet: #9aa7b4; --line: #313b46; --paper: #10151b; --bad: #ff8a80; }
}
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 1.5rem auto; padding: 0 1rem;
  color: var(--ink); background: var(--paper); }
h1 { font-size: 1.4rem; }
h2 { font-size: 1.1rem; margin-top: 2rem; }
svg { width: 100%; height: auto; }
svg text { fill: var(--quiet); font-size: 12px; }
svg .grid { stroke: var(--line); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .75rem .25rem 0; text-align: left;
  vertical-align: top; }
.quiet { color: var(--quiet); }
.bad { color: var(--bad); font-weight: 600; }
tr.differs td { font-weight: 600; }
</style>
</head>
<body>
"""


def report_html(runs: Sequence[Run]) -> str:
    """Return the page; everything that a run says is escaped."""
    names = list(dict.fromkeys(name for run in runs for name in run.figures))
    names.sort(key=lambda name: (name != "acc(public)", not name.startswith("acc")))
    results: list[tuple[str, Callable[[Run], str]]] = [
        ("heights", _heights),
        ("seconds", lambda run: f"{run.seconds:.1f}"),
        ("seconds a height", _pace),
        ("updates counted", _updates),
        ("heights that needed another round", _late),
        *((f"last {name}", _last(name)) for name in names),
    ]
    title = escape(", ".join(run.name for run in runs))
    parts = [_HEAD, f"<h1>{title}</h1>\n", _table("Results", runs, results)]
    for name in names:
        chart = _chart(name, [(run.name, run.curve(name)) for run in runs])
        parts += [f"<h2>{escape(name)}</h2>\n", chart, "\n"]
    keys = list(dict.fromkeys(key for run in runs for key in run.settings))
    if keys:
        parts.append(_table("Settings", runs, [(key, _setting(key)) for key in keys]))
    parts += [_checks(run) + _notes(run) for run in runs]
    return "".join([*parts, "</body>\n</html>\n"])


def summary(run: Run) -> dict[str, object]:
    """Return the same in one row for programs."""
    return {
        "schema": "p2pfed.report/1",
        "run": run.name,
        "heights": len(run.turns),
        "seconds": round(run.seconds, 3),
        "updates": sum(turn.updates or 0 for turn in run.turns),
        "expected": sum(turn.expected or 0 for turn in run.turns),
        "later_rounds": sum(1 for turn in run.turns if turn.round),
        "figures": {name: run.curve(name)[-1][1] for name in run.figures},
        "refused": sum(1 for note in run.notes if note.kind == "update refused"),
        "convicted": sum(1 for note in run.notes if note.kind == "convicted"),
        "settings": run.settings,
    }


def _heights(run: Run) -> str:
    return f"{run.turns[0].height} to {run.turns[-1].height}" if run.turns else "none"


def _pace(run: Run) -> str:
    return f"{run.seconds / (len(run.turns) - 1):.3f}" if len(run.turns) > 1 else "–"


def _updates(run: Run) -> str:
    counted = [turn for turn in run.turns if turn.updates is not None]
    got, expected = sum(turn.updates or 0 for turn in counted), sum(turn.expected or 0 for turn in counted)
    return f"{got} of {expected}" if counted else "–"


def _late(run: Run) -> str:
    known = [turn.round for turn in run.turns if turn.round is not None]
    return str(sum(1 for each in known if each)) if known else "–"


def _last(name: str) -> Callable[[Run], str]:
    return lambda run: f"{run.curve(name)[-1][1]:.4g}" if run.curve(name) else "–"


def _setting(key: str) -> Callable[[Run], str]:
    return lambda run: run.settings.get(key, "–")


def _table(title: str, runs: Sequence[Run], rows: Sequence[tuple[str, Callable[[Run], str]]]) -> str:
    head = "".join(f"<th scope=col>{escape(run.name)}</th>" for run in runs)
    lines = []
    for name, value in rows:
        texts = [value(run) for run in runs]
        mark = " class=differs" if title == "Settings" and len(set(texts)) > 1 else ""
        cells = "".join(f"<td>{escape(text)}</td>" for text in texts)
        lines.append(f"<tr{mark}><th scope=row>{escape(name)}</th>{cells}</tr>\n")
    body = "".join(lines)
    return f"<h2>{title}</h2>\n<div class=wide><table><tr><td></td>{head}</tr>\n{body}</table></div>\n"


def _chart(name: str, curves: Sequence[tuple[str, list[tuple[int, float]]]]) -> str:
    points = [point for _, curve in curves for point in curve]
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    low, high = min(y for _, y in points), max(y for _, y in points)
    wide, tall = max(1, right - left), (high - low) or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        return (LEFT + (WIDTH - LEFT - RIGHT) * (x - left) / wide,
                HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (y - low) / tall)  # fmt: skip

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT + 18 * len(curves)}" role="img" '
        f'aria-label="{escape(name)} over heights">'
    ]
    for share in (0.0, 0.5, 1.0):
        value = low + share * (high - low)
        _, y = place(left, value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    for x, anchor in ((left, "start"), (right, "end")):
        at, _ = place(x, low)
        parts.append(f'<text x="{at:.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">height {x}</text>')
    styles = (STYLES[number % len(STYLES)] for number in range(len(curves)))
    for number, ((label, curve), (colour, dashes)) in enumerate(zip(curves, styles, strict=True)):
        step = max(1, len(curve) // POINTS_MAX)
        thinned = [*curve[:-1:step], *curve[-1:]]
        path = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in thinned)
        stroke = f'stroke="{colour}" stroke-width="2.5" stroke-dasharray="{dashes}"'
        y = HEIGHT + 14 + 18 * number
        last = f"{curve[-1][1]:.4g}" if curve else "not measured"
        parts.append(f'<polyline points="{path}" fill="none" {stroke}/>')
        parts.append(f'<line x1="{LEFT}" x2="{LEFT + 36}" y1="{y - 4}" y2="{y - 4}" {stroke}/>')
        parts.append(f'<text x="{LEFT + 44}" y="{y}">{escape(label)}: {last}</text>')
    return "\n".join([*parts, "</svg>"])


def _checks(run: Run) -> str:
    if not run.checks:
        return ""
    lines = [
        f"<li>{'✓' if held else '<span class=bad>✗</span>'} {escape(name)}: {escape(detail)}</li>\n"
        for name, held, detail in run.checks
    ]
    return f"<h2>Checks of {escape(run.name)}</h2>\n<ul>{''.join(lines)}</ul>\n"


def _notes(run: Run) -> str:
    if not run.notes:
        return ""
    shown = [
        f"<tr><td>{note.height}</td><td>{escape(note.kind)}</td><td>{escape(note.text)}</td></tr>\n"
        for note in run.notes[:NOTES_MAX]
    ]
    more = len(run.notes) - len(shown)
    rest = f"<p class=quiet>and {more} more</p>\n" if more else ""
    head = "<tr><th>height</th><th>what</th><th>who and why</th></tr>\n"
    title = f"<h2>What happened in {escape(run.name)}</h2>\n"
    return f"{title}<div class=wide><table>{head}{''.join(shown)}</table></div>\n{rest}"
