"""`p2pfed lab sim`: schedules of agreement cores with faults and liars, and what they came to."""

from __future__ import annotations

import json
import os
import sys
import time

import click

from p2pfed.errors import UsageError
from p2pfed.sim.cores.campaign import Plan, Tally, is_bad, run_campaign, shrink
from p2pfed.sim.cores.kinds import FaultKind
from p2pfed.sim.cores.schedule import FAULTS, keep, verify_shape
from p2pfed.sim.cores.transcript import Transcript, describe
from p2pfed.sim.cores.world import run

TELL_S = 10
INTERRUPTED = 130  # The exit code of what Ctrl-C ended.
SHRUNK_MAX = 3  # Failures that are shrunk and told in full; the first ones say enough.


@click.command()
@click.option("--peers", default=4, show_default=True, type=click.IntRange(2, 64), help="Validators.")
@click.option("--byzantine", default=1, show_default=True, type=click.IntRange(0), help="Liars.")
@click.option("--schedules", default=1_000, show_default=True, type=click.IntRange(1), help="How many runs.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="Of the first run.")
@click.option("--faults", default="", metavar="KIND,…", help=f"Only these: {', '.join(FAULTS)}.")
@click.option("--workers", type=click.IntRange(1, 256), show_default="one a core", help="Processes.")
@click.option("--replay", type=click.IntRange(0), metavar="SEED", help="Print what happens in one run.")
@click.option("--keep", "kept", metavar="N,…", help="With --replay: only these of its faults; none: -.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object at the end.")
def sim(
    peers: int,
    byzantine: int,
    schedules: int,
    seed: int,
    faults: str,
    workers: int | None,
    replay: int | None,
    kept: str | None,
    as_json: bool,
) -> None:
    """Run schedules of agreement cores with faults and liars; what breaks is shrunk and told."""
    verify_shape(peers, byzantine)
    plan = Plan(peers, byzantine, schedules, seed, _kinds(faults))
    if replay is not None:
        sys.exit(_replay(plan, replay, kept))
    if kept is not None:
        raise UsageError("--keep goes with --replay")
    started_s = told_s = time.monotonic()

    def tell(sums: Tally) -> None:
        nonlocal told_s
        now_s = time.monotonic()
        if now_s - told_s > TELL_S:
            told_s = now_s
            click.echo(_progress(plan, sums, now_s - started_s), err=True)

    sums = run_campaign(plan, workers or os.cpu_count() or 1, tell)
    is_whole = sums.schedules == plan.schedules
    if not is_whole:
        left = f"go on with --seed {seed + sums.schedules} --schedules {schedules - sums.schedules}"
        click.echo(f"stopped after {sums.schedules} of {schedules} schedules; {left}", err=True)
    for failed, why in sums.failures[:SHRUNK_MAX]:
        click.echo(f"seed {failed}: {why}", err=True)
        needed = shrink(plan.schedule(failed))
        click.echo(f"repeat with: {repeat_line(plan, failed, needed)}", err=True)
        click.echo("\n".join(_transcript(plan, failed, needed)[0]), err=True)
    report = _report(plan, sums, time.monotonic() - started_s)
    if as_json:
        click.echo(json.dumps(report))
    else:
        click.echo("\n".join(f"{name:<22} {value}" for name, value in report.items()))
    sys.exit(1 if not sums.is_good else 0 if is_whole else INTERRUPTED)


def _progress(plan: Plan, sums: Tally, wall_s: float) -> str:
    left_min = round(wall_s * (plan.schedules - sums.schedules) / sums.schedules / 60)
    found = f"{len(sums.failures)} failures, {sums.forks} forks"
    return f"{sums.schedules} of {plan.schedules} schedules, {found}, about {left_min} min left"


def repeat_line(plan: Plan, seed: int, faults: tuple[int, ...]) -> str:
    """Return the command that runs one schedule again, with these of its faults."""
    only = "" if plan.kinds == FAULTS else f" --faults {','.join(plan.kinds)}"
    kept = ",".join(map(str, faults)) or "-"
    shape = f"--peers {plan.peers} --byzantine {plan.byzantine}{only}"
    return f"p2pfed lab sim {shape} --replay {seed} --keep {kept}"


def _kinds(faults: str) -> tuple[FaultKind, ...]:
    names = [name.strip() for name in faults.split(",") if name.strip()]
    unknown = [name for name in names if name not in FAULTS]
    if unknown:
        raise UsageError(f"no fault is called {unknown[0]!r}; there are {', '.join(FAULTS)}")
    return tuple(kind for kind in FAULTS if kind in names) or FAULTS


def _replay(plan: Plan, seed: int, kept: str | None) -> int:
    count = len(plan.schedule(seed).faults)
    try:
        numbers = [int(part) for part in kept.split(",")] if kept not in (None, "-", "") else []
    except ValueError:
        raise UsageError(f"--keep takes numbers of faults, like 0,2, not {kept!r}") from None
    if any(number < 0 for number in numbers):
        raise UsageError(f"faults are numbered from 0, not {min(numbers)}")
    lines, is_broken = _transcript(plan, seed, tuple(range(count)) if kept is None else tuple(numbers))
    click.echo("\n".join(lines))
    return 1 if is_broken else 0


def _transcript(plan: Plan, seed: int, faults: tuple[int, ...]) -> tuple[list[str], bool]:
    """Return a run in words, and whether it broke a promise."""
    schedule, witness = keep(plan.schedule(seed), faults), Transcript()
    outcome = run(schedule, witness)
    end = [f"violation: {text}" for text in outcome.violations]
    end.append(
        f"forks {outcome.forks}, convicted power {outcome.accused_power}, undecided {outcome.undecided}"
    )
    end.append(f"trace {outcome.trace.hex()}")
    return [*describe(schedule), *witness.tail(), *end], is_bad(schedule, outcome)


def _share(part: int, whole: int) -> float:
    return round(part / max(whole, 1), 4)


def _report(plan: Plan, sums: Tally, wall_s: float) -> dict[str, object]:
    least = sums.accused_power_min
    return {
        "schema": "p2pfed.lab-sim/1",
        "peers": plan.peers,
        "byzantine": plan.byzantine,
        "seed": plan.seed,
        "schedules": sums.schedules,
        "faulted": sums.faulted,
        "violations": sums.violations,
        "undecided": sums.undecided,
        "forks": sums.forks,
        "unconvicted": sums.unconvicted,
        "amnesic": sums.amnesic,
        "accused_share_min": None if least is None else round(least / plan.peers, 4),
        "framed": sums.framed,
        "round_1_share": _share(sums.reached_round_1, sums.schedules),
        "lock_moved_share": _share(sums.moved_a_lock, sums.schedules),
        "lock_changed_share": _share(sums.changed_a_lock, sums.schedules),
        "fired": dict(sorted(sums.fired.items())),
        "liars": dict(sorted(sums.liars.items())),
        "events": sums.events,
        "virtual_s": sums.virtual_ms // 1000,
        "schedules_per_minute": round(60 * sums.schedules / wall_s),
        "schedules_per_cpu_minute": round(60 * sums.schedules / max(sums.cpu_s, 1e-9)),
        "trace_hash": sums.trace.hex(),
    }
