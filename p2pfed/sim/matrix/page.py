"""The matrix as one HTML page: the heat map, and a line a cell with the command that repeats it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from p2pfed.sim.matrix.cell import Row
from p2pfed.sim.matrix.heat_map import heat_map_svg
from p2pfed.sim.matrix.plan import Cell, Plan
from p2pfed.sim.matrix.summary import Panel, panels
from p2pfed.storage.files import replace_file

SVG_FILE, HTML_FILE = "matrix.svg", "matrix.html"
_MODE = 0o644
_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 1rem auto; max-width: 60rem; padding: 0 .5rem; color: #111; }}
h1 {{ font-size: 1.4rem; }}
svg {{ max-width: 100%; height: auto; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: 13px; }}
td, th {{ border-bottom: 1px solid #ddd; padding: .2rem .5rem; text-align: left; vertical-align: top; }}
td.figure {{ text-align: right; font-variant-numeric: tabular-nums; }}
code {{ font-size: 12px; overflow-wrap: anywhere; }}
</style>
</head>
<body>
"""  # noqa: E501 - one rule of CSS a line


def write_pictures(folder: Path, plan: Plan, rows: Mapping[Cell, Row]) -> None:
    """Write matrix.svg and matrix.html, each whole."""
    found = panels(plan, rows)
    svg = heat_map_svg(plan, found)
    replace_file(folder / SVG_FILE, svg.encode(), mode=_MODE)
    replace_file(folder / HTML_FILE, page_html(plan, rows, found, svg).encode(), mode=_MODE)


def page_html(plan: Plan, rows: Mapping[Cell, Row], found: Sequence[Panel], svg: str) -> str:
    """Return the page; `svg` is our own and goes in as it is, all else is escaped."""
    cells = list(plan.cells())
    done = sum(cell in rows for cell in cells)
    title = f"{plan.metric} of {plan.app}, {plan.peers} peers, {plan.heights} heights"
    return "".join(
        (
            _HEAD.format(title=escape(title)),
            f"<h1>{escape(title)}</h1>\n<p>{done} of {len(cells)} cells, {len(plan.seeds)} seed",
            f"{'s' if len(plan.seeds) > 1 else ''}. Lighter is better. A figure is the mean over the seeds; ",
            "point at it for more.</p>\n",
            svg,
            "<h2>Each rule's worst attack</h2>\n",
            *(_worst(plan, panel) for panel in found),
            "<details><summary>Every cell, with the command that repeats it</summary>\n",
            "<div class=wide><table>\n",
            "<tr><th>rule<th>attack<th>f<th>split<th>seed<th>value<th>CPU s<th>command</tr>\n",
            *(_line(rows[cell]) for cell in cells if cell in rows),
            "</table></div></details>\n</body>\n</html>\n",
        )
    )


def _worst(plan: Plan, panel: Panel) -> str:
    lines = []
    for rule in plan.rules:
        worst = panel.worst(plan, rule)
        value, attack = (f"{worst[0]:.3f}", worst[1]) if worst else ("", "")
        lines.append(f"<tr><td>{escape(rule)}<td class=figure>{value}<td>{escape(attack)}</tr>\n")
    heading = f"{panel.split}, {panel.faulty} of {plan.peers} lie"
    return (
        f"<h3>{escape(heading)}</h3>\n<div class=wide><table>\n<tr><th>rule<th>value<th>attack</tr>\n"
        f"{''.join(lines)}</table></div>\n"
    )


def _line(row: Row) -> str:
    figure = f"failed: {row.error}" if row.value is None else f"{row.value:.4f}"
    return (
        f"<tr><td>{escape(row.rule)}<td>{escape(row.attack)}<td class=figure>{row.faulty}"
        f"<td>{escape(row.split)}<td class=figure>{row.seed}<td class=figure>{escape(figure)}"
        f"<td class=figure>{row.cpu_s:.1f}<td><code>{escape(row.command)}</code></tr>\n"
    )
