"""`p2pfed verify`: check what is on this disk, by three independent ways."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click

import p2pfed
from p2pfed.cli.options import home_option, json_option
from p2pfed.cli.progress import Progress
from p2pfed.cli.reading import open_chain
from p2pfed.cli.text import printable
from p2pfed.errors import LocalError, StorageFault
from p2pfed.runtime.deep_check import deep_check
from p2pfed.runtime.peer import read_genesis
from p2pfed.storage.audit import audit
from p2pfed.storage.home import Home
from p2pfed.storage.store import Store

DAMAGED = 5


@click.command()
@home_option
@json_option
@click.option("--deep", is_flag=True, help="Also recompute every aggregate whose payloads are held, slowly.")
@click.option(
    "--independent", is_flag=True, help="Check with a second program that shares no code with p2pfed."
)
def verify(home: Home, as_json: bool, deep: bool, independent: bool) -> None:
    """Check every stored value, certificate and signature offline; exit code 5 where something is damaged."""
    if independent:
        program = Path(p2pfed.__file__).parent / "independent" / "verify.py"
        command = [sys.executable, "-I", str(program), str(home.path), *(["--json"] if as_json else [])]
        raise click.exceptions.Exit(subprocess.run(command, check=False).returncode)
    genesis = read_genesis(home)
    tip = _tip(home)
    with Progress("verify", tip) as progress:
        report = audit(home, genesis, progress.step_to)
    problems = [str(problem) for problem in report.problems]
    recomputed, pruned = 0, 0
    if deep and not problems:
        store = Store(home, genesis, read_only=True)
        try:
            with Progress("recompute", tip) as progress:
                for result in deep_check(store):
                    progress.step_to(result.height)
                    recomputed += result.is_held
                    pruned += not result.is_held
                    problems += [result.problem] if result.problem else []
        finally:
            store.close()
    if as_json:
        row = {
            "schema": "p2pfed.verify/1",
            "sound": not problems,
            "heights": report.heights,
            "signatures": report.signatures,
            "blobs": report.blobs,
            "recomputed": recomputed,
            "problems": problems,
        }
        click.echo(json.dumps(row))
    else:
        for problem in problems:
            click.echo(printable(problem))
        counts = f"{report.heights} blocks, {report.signatures} signatures, {report.blobs} blobs"
        if deep:
            counts += f", {recomputed} aggregates recomputed ({pruned} without payloads here)"
        click.echo(f"{counts}: " + (f"{len(problems)} problems" if problems else "everything holds"))
    if problems:
        raise click.exceptions.Exit(DAMAGED)


def _tip(home: Home) -> int:
    """Return how many blocks there are to check; 0 where that can't be read, which the audit reports."""
    try:
        with open_chain(home) as chain:
            return chain.height
    except (LocalError, StorageFault):
        return 0
