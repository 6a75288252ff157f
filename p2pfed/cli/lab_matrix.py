"""`p2pfed lab matrix` and `lab report`: rules against attacks, cell by cell, and the picture of it."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click
import msgspec

from p2pfed.cli.founding_options import parse_outer
from p2pfed.cli.text import printable
from p2pfed.errors import LocalError, UsageError
from p2pfed.learning.apps import FLOWER, load_learner, split_spec
from p2pfed.learning.learner import AppContext
from p2pfed.sim.matrix.cell import Row
from p2pfed.sim.matrix.page import HTML_FILE, SVG_FILE, write_pictures
from p2pfed.sim.matrix.plan import DEFAULT, NONE, Cell, Plan, parse_list, parse_numbers, verify_plan
from p2pfed.sim.matrix.pool import run_cells
from p2pfed.sim.matrix.store import CellStore, load_plan, load_rows
from p2pfed.sim.matrix.summary import panels

KEPT_NOWHERE = "-"
TELL_S = 5
INTERRUPTED = 130


def _listed(values: tuple[object, ...]) -> str:
    return ",".join(map(str, values))


@click.command()
@click.option(
    "--app", default=DEFAULT.app, show_default=True, help="The learner, your own: my_file.py:learner."
)
@click.option("--data-dir", default="", help="MNIST's folder, or an .npz file of your own.")
@click.option("--param", "params", multiple=True, metavar="KEY=VALUE", help="A setting of the learner.")
@click.option("--peers", default=DEFAULT.peers, show_default=True, type=int)
@click.option("--heights", default=DEFAULT.heights, show_default=True, type=int, help="Merges of one cell.")
@click.option("--rules", default="", help="Rules, with commas.  [default: ten of them]")
@click.option(
    "--attacks", default="", help="Attacks, with commas; none: nobody lies.  [default: none and ten]"
)
@click.option("--faulty", default=_listed(DEFAULT.faulty), show_default=True, help="How many lie: 1,2,3.")
@click.option("--splits", default="", help="How data is split.  [default: three ways]")
@click.option("--seeds", default=_listed(DEFAULT.seeds), show_default=True, help="Seeds: 1-5.")
@click.option("--layout", default="array", show_default=True, type=click.Choice(["array", "row"]),
              help="What rules work on: each array, or whole updates.")  # fmt: skip
@click.option("--outer", default="nesterov", show_default=True, metavar="OFF|MOMENTUM,RATE",
              help="Momentum over heights; nesterov: 0.8,0.7.")  # fmt: skip
@click.option("--momentum", default=0.0, show_default=True, type=float, help="Of trainers, below 1.")
@click.option("--metric", default="", help="The learner's figure to draw.  [default: acc(public)]")
@click.option("--workers", type=click.IntRange(1, 256), show_default="one a core", help="Processes.")
@click.option("--output", "-o", default="p2pfed-matrix", show_default=True, help="Folder; - keeps nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a cell.")
@click.pass_context
def matrix(ctx: click.Context, /, output: str, workers: int | None, as_json: bool, **given: Any) -> None:
    """Train every rule against every attack in this machine's processes, and draw the heat map.

    Each finished cell is kept at once: the same folder goes on where it was stopped or killed.
    """
    folder = None if output == KEPT_NOWHERE else Path(output)
    named = [
        name for name in given if ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
    ]
    kept = load_plan(folder) if folder is not None and not named else None
    plan = kept or _plan(given)
    with CellStore(folder) if folder is not None else nullcontext() as store:
        if store is not None:
            store.found(plan)
        rows = dict(store.rows) if store is not None else {}
        if any(cell not in rows or rows[cell].error for cell in plan.cells()):
            _verify_learner(plan)
        is_whole = _run(plan, rows, store, workers or os.cpu_count() or 1, as_json=as_json)
    if folder is not None:
        write_pictures(folder, plan, rows)
    if not as_json:
        _tell(plan, rows, folder)
    if not is_whole:
        left = sum(cell not in rows for cell in plan.cells())
        how = "nothing was kept" if folder is None else f"go on with: {_go_on(folder, workers)}"
        click.echo(f"stopped with {left} of {plan.count} cells to go; {how}", err=True)
        sys.exit(INTERRUPTED)
    sys.exit(1 if any(rows[cell].error for cell in plan.cells()) else 0)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--metric", help="Draw another figure of the learner.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a cell.")
def report(folder: Path, metric: str | None, as_json: bool) -> None:
    """Draw the heat map of FOLDER again, finished or not, and tell each rule's worst attack."""
    plan = load_plan(folder)
    if plan is None:
        raise LocalError(f"{folder} holds no matrix; `p2pfed lab matrix --output {folder}` makes one")
    rows = load_rows(folder)
    if metric is not None:
        plan = msgspec.structs.replace(plan, metric=metric)
        rows = {cell: _drawn_by(row, metric) for cell, row in rows.items()}
        if not any(row.value is not None for row in rows.values()):
            there = sorted({name for row in rows.values() for name in row.metrics})
            raise UsageError(f"no cell has the figure {metric!r}; there are {', '.join(there) or 'none'}")
    write_pictures(folder, plan, rows)
    if as_json:
        for cell in plan.cells():
            if cell in rows:
                _print(rows[cell])
    else:
        _tell(plan, rows, folder)


def _plan(given: Mapping[str, Any]) -> Plan:
    momentum = given["momentum"]
    if not 0 <= momentum < 1:
        raise UsageError(f"--momentum goes from 0 to below 1, not {momentum:g}")
    params = dict(text.partition("=")[::2] for text in given["params"])
    for text in given["params"]:
        if not text.partition("=")[1]:
            raise UsageError(f"--param takes KEY=VALUE, not {text!r}")
    plan = Plan(
        app=given["app"],
        data_dir=given["data_dir"],
        params=params,
        peers=given["peers"],
        heights=given["heights"],
        layout=given["layout"],
        outer=parse_outer(given["outer"]),
        momentum=round(1000 * momentum),
        metric=given["metric"] or DEFAULT.metric,
        rules=parse_list(given["rules"]) or DEFAULT.rules,
        attacks=parse_list(given["attacks"]) or DEFAULT.attacks,
        faulty=parse_numbers(given["faulty"], "--faulty"),
        splits=parse_list(given["splits"]) or DEFAULT.splits,
        seeds=parse_numbers(given["seeds"], "--seeds"),
    )
    verify_plan(plan)
    return plan


def _verify_learner(plan: Plan) -> None:
    """Refuse data that is not there once, before every cell does; a learner of one's own loads in workers.

    Raises:
        UsageError, LearnerError: It isn't there, or a shipped learner can't use it.
    """
    if plan.data_dir and not Path(plan.data_dir).exists():
        raise UsageError(f"--data-dir: there is no {plan.data_dir}")
    if not (plan.app.startswith(FLOWER) or split_spec(plan.app)[0].endswith(".py")):
        context = AppContext(0, plan.peers, plan.splits[0], plan.seeds[0], plan.data_dir, plan.params)
        load_learner(plan.app, context)


def _run(plan: Plan, rows: dict[Cell, Row], store: CellStore | None, workers: int, *, as_json: bool) -> bool:
    """Run the cells that `rows` lacks or that failed; add them to it; return whether none is left."""
    cells = [cell for cell in plan.cells() if cell not in rows or rows[cell].error]
    started_s = told_s = time.monotonic()
    done = failed = 0

    def take(row: Row) -> None:
        nonlocal told_s, done, failed
        rows[row.cell] = row
        if store is not None:
            store.add(row)
        done, failed = done + 1, failed + bool(row.error)
        if row.error:
            click.echo(printable(f"{row.rule}, {row.attack}, {row.split}: {row.error}"), err=True)
        if as_json:
            _print(row)
        now_s = time.monotonic()
        if now_s - told_s >= TELL_S or done == len(cells):
            told_s = now_s
            left_min = (now_s - started_s) * (len(cells) - done) / done / 60
            click.echo(
                f"{done} of {len(cells)} cells, {failed} failed, about {left_min:.0f} min left", err=True
            )

    if len(cells) < plan.count:
        click.echo(f"{plan.count - len(cells)} of {plan.count} cells are here already", err=True)
        if as_json:
            for cell in plan.cells():
                if cell in rows and not rows[cell].error:
                    _print(rows[cell])
    say = "finishing the cells that run; Ctrl-C again drops them"
    return run_cells(plan, cells, workers, take, lambda: click.echo(say, err=True))


def _print(row: Row) -> None:
    click.echo(msgspec.json.encode(row).decode())


def _drawn_by(row: Row, metric: str) -> Row:
    value = row.metrics.get(metric)
    return msgspec.structs.replace(row, value=None if value is None else float(value))


def _go_on(folder: Path, workers: int | None) -> str:
    more = ["--workers", str(workers)] if workers else []
    return shlex.join(["p2pfed", "lab", "matrix", "--output", str(folder), *more])


def _tell(plan: Plan, rows: Mapping[Cell, Row], folder: Path | None) -> None:
    """Print each rule without liars and under its worst attack."""
    for panel in panels(plan, rows):
        click.echo(f"{panel.split}, {panel.faulty} of {plan.peers} lie")
        for rule in plan.rules:
            calm = panel.squares.get((rule, NONE))
            clean = f"{calm.value:.3f}" if calm is not None and calm.value is not None else "-"
            worst = panel.worst(plan, rule)
            said = f"{worst[0]:.3f} {worst[1]}" if worst else "-"
            click.echo(f"  {rule:<24} clean {clean:<6} worst {said}")
    if folder is not None:
        click.echo(f"heat map: {folder / SVG_FILE}, {folder / HTML_FILE}")
