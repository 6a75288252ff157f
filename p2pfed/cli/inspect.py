"""`p2pfed inspect`: what a stopped or damaged home holds."""

from __future__ import annotations

import json
from typing import Any

import click
import msgspec

from p2pfed.cli.options import home_option, json_option
from p2pfed.cli.text import printable
from p2pfed.errors import LocalError
from p2pfed.storage.home import Home
from p2pfed.storage.inspection import inspect as look


@click.command()
@home_option
@json_option
def inspect(home: Home, as_json: bool) -> None:
    """Say what a home holds and where it first goes wrong; nothing is changed.

    It hashes no blob and replays no block: `p2pfed verify` does. Exit code 5 where something can't be right.
    """
    if not home.path.is_dir():
        raise LocalError(f"there is no home folder {home.path}; name the folder of a peer with --home")
    row = {"schema": "p2pfed.inspect/1", "home": str(home.path), **msgspec.structs.asdict(look(home))}
    if as_json:
        click.echo(json.dumps(row))
    else:
        for line in _lines(row):
            click.echo(line)
    if row["problem"]:
        raise click.exceptions.Exit(5)


def _lines(row: dict[str, Any]) -> list[str]:
    sizes = "  ".join(f"{name} {size / 1e6:.1f} MB" for name, size in row["sizes"].items())
    since = f"from the snapshot of {row['base']} on" if row["base"] else "from genesis on"
    record = "none" if row["record"] is None else "height {}, round {}, step {}".format(*row["record"])
    lines = [
        f"network   {printable(row['network']) or 'unknown'}  chain {row['chain'][:16] or 'unknown'}",
        f"peer      {'runs now' if row['is_running'] else 'does not run'}",
        f"blocks    {row['blocks']}, {since}, the newest {row['tip']}  hash {row['value_id'][:16] or 'none'}",
        f"roots     state {row['state_root'][:16] or 'none'}  model {row['model_root'][:16] or 'none'}",
        f"states    {_ranges(row['states'])}",
        f"payloads  {_ranges(row['payloads'])}",
        f"snapshots {_ranges(row['snapshots'])}",
        f"votes     signed up to {record}; {row['pending']} pending values, {row['polkas']} polkas",
        f"sizes     {sizes}; {row['blobs']} blobs",
    ]
    if row["problem"]:
        lines.append(f"problem   {printable(row['problem'])} ({row['problems']} in all)")
        lines.append("remedy    `p2pfed verify` lists all; `p2pfed rollback` goes back to a whole state,")
        lines.append("          or move data/ away and start with --join: the chain is fetched again")
    return lines


def _ranges(heights: list[int]) -> str:
    """Return ascending heights as text, runs of them as first-last."""
    runs: list[list[int]] = []
    for height in heights:
        if runs and runs[-1][1] == height - 1:
            runs[-1][1] = height
        else:
            runs.append([height, height])
    return ", ".join(f"{first}-{last}" if last > first else str(first) for first, last in runs) or "none"
