"""`p2pfed report`: runs side by side on one page."""

from __future__ import annotations

import json
from pathlib import Path

import click

from p2pfed.cli.options import json_option
from p2pfed.runtime.report_page import REPORT_MODE, report_html, summary
from p2pfed.runtime.runs import read_run
from p2pfed.storage.files import replace_file


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--output", "-o", type=click.Path(path_type=Path), default=Path("report.html"),
              show_default=True, help="The page to write.")  # fmt: skip
@json_option
def report(runs: tuple[Path, ...], output: Path, as_json: bool) -> None:
    """Compare RUNS on one page: curves, results, settings, what was refused and who was convicted.

    A run is a peer's home, the folder of a demo or a testnet, or a file of `run --track jsonl:FILE`.
    """
    found = [read_run(path) for path in runs]
    if as_json:
        for run in found:
            click.echo(json.dumps(summary(run)))
        return
    replace_file(output, report_html(found).encode(), mode=REPORT_MODE)
    click.echo(f"look at {output}")
