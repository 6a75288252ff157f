"""`p2pfed verify`: check what is on this disk, by three independent ways."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click

import p2pfed
from p2pfed.cli.options import home_option, json_option
from p2pfed.cli.progress import Progress
from p2pfed.cli.reading import open_chain
from p2pfed.cli.text import printable
from p2pfed.errors import LocalError, SafetyViolation, StorageFault
from p2pfed.runtime.deep_check import deep_check
from p2pfed.runtime.peer import read_genesis
from p2pfed.storage.audit import audit
from p2pfed.storage.fork import ForkReport, compare
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
@click.option(
    "--audit", "compares", is_flag=True, help="Compare with the homes named; exit code 7 where they fork."
)
@click.argument("others", nargs=-1, metavar="[OTHER_HOME]...", type=click.Path(path_type=Path))
def verify(
    home: Home, as_json: bool, deep: bool, independent: bool, compares: bool, others: tuple[Path, ...]
) -> None:
    """Check every stored value, certificate and signature offline; exit code 5 where something is damaged.

    With --audit, convict from two stores that differ: who signed both branches, by name and share of stake.
    """
    if compares != bool(others) or (compares and independent):
        raise click.UsageError("--audit names the homes to compare with, without --independent")
    if independent:
        program = Path(p2pfed.__file__).parent / "independent" / "verify.py"
        flags = [*(["--deep"] if deep else []), *(["--json"] if as_json else [])]
        command = [sys.executable, "-I", str(program), str(home.path), *flags]
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
    forks = ForkReport()
    if compares and report.state is not None:
        forks = compare(home, [Home(other) for other in others], report.state)
        problems += [str(problem) for problem in forks.problems]
    if as_json:
        row = {
            "schema": "p2pfed.verify/1",
            "sound": not problems,
            "heights": report.heights,
            "signatures": report.signatures,
            "blobs": report.blobs,
            "recomputed": recomputed,
            "problems": problems,
            **(_fork_row(forks) if compares else {}),
        }
        click.echo(json.dumps(row))
    else:
        for problem in problems:
            click.echo(printable(problem))
        counts = f"{report.heights} blocks, {report.signatures} signatures, {report.blobs} blobs"
        if deep:
            counts += f", {recomputed} aggregates recomputed ({pruned} without payloads here)"
        click.echo(f"{counts}: " + (f"{len(problems)} problems" if problems else "everything holds"))
        for line in _fork_lines(forks, len(others)) if compares else ():
            click.echo(line)
    if forks.forks:
        raise click.exceptions.Exit(SafetyViolation.exit_code)
    if problems:
        raise click.exceptions.Exit(DAMAGED)


def _fork_row(report: ForkReport) -> dict[str, object]:
    return {
        "forks": [
            {
                "height": fork.height,
                "home": str(fork.home.path),
                "values": [fork.ours.value_id.hex(), fork.theirs.value_id.hex()],
                "rounds": [fork.ours.round, fork.theirs.round],
                "common": [key.hex() for key in fork.common],
            }
            for fork in report.forks
        ],
        "convicted": [
            {
                "key": proof.convict.culprit.hex(),
                "kind": type(proof.evidence).__name__,
                "height": proof.convict.height,
                "power": proof.power,
            }
            for proof in report.proofs
        ],
        "convicted_power": report.convicted_power,
        "total_power": report.total_power,
    }


def _fork_lines(report: ForkReport, compared: int) -> Iterator[str]:
    for fork in report.forks:
        ours, theirs = fork.ours, fork.theirs
        yield (
            f"fork at height {fork.height}: {ours.value_id.hex()[:12]}… here (round {ours.round}), "
            f"{theirs.value_id.hex()[:12]}… in {printable(str(fork.home.path))} (round {theirs.round})"
        )
    for proof in report.proofs:
        yield (
            f"convicted: {proof.convict.culprit.hex()} of {type(proof.evidence).__name__} "
            f"at height {proof.convict.height}, stake {proof.power}"
        )
    convicted = {proof.convict.culprit for proof in report.proofs}
    for fork in report.forks:
        for key in fork.common:
            if key not in convicted:
                yield f"not proven: {key.hex()} signed both certificates; the polkas in between are missing"
    if report.forks:
        stake = f"{report.convicted_power} of {report.total_power}"
        yield f"{len(convicted)} keys are convicted, with stake {stake}"
    else:
        who = "1 other store holds" if compared == 1 else f"{compared} other stores hold"
        yield f"no fork: {who} the same blocks as far as {'it goes' if compared == 1 else 'they go'}"


def _tip(home: Home) -> int:
    """Return how many blocks there are to check; 0 where that can't be read, which the audit reports."""
    try:
        with open_chain(home) as chain:
            return chain.height
    except (LocalError, StorageFault):
        return 0
