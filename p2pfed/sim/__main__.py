"""`python -m p2pfed.sim`: run many random schedules, count what broke, print how to repeat it."""

from __future__ import annotations

import json
import sys
import time
from hashlib import sha256

import click

from p2pfed.adversary.registry import verify_spec
from p2pfed.errors import UsageError
from p2pfed.sim.scenario import random_scenario
from p2pfed.sim.world import Result, run

DEFAULT_LIAR = "sign_flip:scale=4"


def repeat_line(seed: int, peers: int, heights: int, byzantine: tuple[str, ...]) -> str:
    """Return the command that runs one schedule again."""
    liars = "".join(f" --byzantine {spec}" for spec in byzantine) or " --honest"
    return f"python -m p2pfed.sim --schedules 1 --seed {seed} --peers {peers} --heights {heights}{liars}"


def run_schedule(seed: int, peers: int, heights: int, byzantine: tuple[str, ...]) -> Result:
    """Run the schedule of `seed`; an exception of ours carries the line that repeats it."""
    try:
        return run(random_scenario(seed, peers, heights, byzantine))
    except BaseException as error:
        error.add_note(f"seed {seed}; repeat with: {repeat_line(seed, peers, heights, byzantine)}")
        raise


@click.command()
@click.option("--schedules", default=100, show_default=True, type=click.IntRange(1), help="How many.")
@click.option("--peers", default=4, show_default=True, type=click.IntRange(1, 64))
@click.option("--heights", default=20, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=1, show_default=True, type=int, help="Of the first; the next has one more.")
@click.option("--byzantine", multiple=True, help=f"A liar, KIND[:key=value]; repeat it. [{DEFAULT_LIAR}]")
@click.option("--honest", is_flag=True, help="No liar at all.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object at the end.")
def main(
    schedules: int,
    peers: int,
    heights: int,
    seed: int,
    byzantine: tuple[str, ...],
    honest: bool,
    as_json: bool,
) -> None:
    """Run random schedules of one small network with loss, delays, doubles, crashes and partitions."""
    liars = () if honest else byzantine or (DEFAULT_LIAR,)
    try:
        for spec in liars:
            verify_spec(spec)
    except UsageError as error:
        raise click.UsageError(str(error)) from None
    if 3 * len(liars) >= peers:
        raise click.UsageError(f"{len(liars)} liars of {peers} peers; agreement needs less than a third")
    started, failures = time.monotonic(), 0
    totals, hashes = {"crashes": 0, "events": 0, "blocks": 0, "virtual_ms": 0}, sha256()
    worst_accuracy = 1.0
    for number in range(schedules):
        result = run_schedule(seed + number, peers, heights, liars)
        hashes.update(result.trace_hash.encode())
        worst_accuracy = min(worst_accuracy, result.accuracy)
        totals["crashes"] += result.crashes
        totals["events"] += result.events
        totals["blocks"] += len(result.decided)
        totals["virtual_ms"] += result.virtual_ms
        if result.violations:
            failures += 1
            for violation in result.violations:
                click.echo(f"seed {seed + number}: {violation}", err=True)
            click.echo(f"repeat with: {repeat_line(seed + number, peers, heights, liars)}", err=True)
        if (number + 1) % 25 == 0 or number + 1 == schedules:
            elapsed_s = time.monotonic() - started
            click.echo(f"{number + 1}/{schedules} schedules, {failures} failed, {elapsed_s:.0f} s", err=True)
    report = {
        "schedules": schedules, "peers": peers, "heights": heights, "seed": seed, "byzantine": list(liars),
        "failures": failures, **totals, "accuracy_min": round(worst_accuracy, 4),
        "trace_hash": hashes.hexdigest(), "seconds": round(time.monotonic() - started, 1),
    }  # fmt: skip
    if as_json:
        click.echo(json.dumps(report))
    else:
        click.echo("\n".join(f"{name:13} {value}" for name, value in report.items()))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
