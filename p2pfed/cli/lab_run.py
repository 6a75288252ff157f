"""`p2pfed lab run`: one named network in virtual time, from its seed, and what broke."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from p2pfed.cli.lab_processes import play, verify_playable
from p2pfed.errors import UsageError
from p2pfed.sim.campaign import (
    RANDOM,
    Tally,
    find_scenario,
    run_seeds,
    shrink,
    with_seed,
)
from p2pfed.sim.scenario import Scenario, keep, random_scenario, verify_scenario
from p2pfed.sim.transcript import Transcript, describe
from p2pfed.sim.world import run as run_world

TELL_S = 10
SHRUNK_MAX = 3  # Failures that are shrunk and told in full; the first ones say enough.
DEFAULT_PEERS, DEFAULT_HEIGHTS = 4, 10
_SIMULATED = ("seed", "schedules", "kept", "is_told", "peers", "heights", "byzantine")


@click.command()
@click.argument("name")
@click.option("--sim", is_flag=True, help="In virtual time, in this process.")
@click.option("--seed", type=click.IntRange(0), help="Of the first run; without it, the scenario's own.")
@click.option("--schedules", default=1, show_default=True, type=click.IntRange(1), help="Seeds in a row.")
@click.option("--keep", "kept", metavar="N,…", help="Only these of its faults; none: -.")
@click.option("--transcript", "is_told", is_flag=True, help="Print what happens, line by line.")
@click.option("--peers", type=click.IntRange(1, 64), help="Of `random`.  [4]")
@click.option("--heights", type=click.IntRange(1), help="Of `random`.  [10]")
@click.option("--byzantine", multiple=True, metavar="KIND", help="A liar of `random`; repeat it.")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Without --sim: keep the homes here.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object at the end.")
@click.pass_context
def run(
    ctx: click.Context,
    /,
    name: str,
    sim: bool,
    seed: int | None,
    schedules: int,
    kept: str | None,
    is_told: bool,
    peers: int | None,
    heights: int | None,
    byzantine: tuple[str, ...],
    output: Path | None,
    as_json: bool,
) -> None:
    """Run a scenario, NAME.toml or a name of `lab list`, with real processes or in virtual time."""
    if not sim:
        _verify_given(ctx)
        sys.exit(_play(name, output, as_json=as_json))
    if output is not None:
        raise UsageError("--output goes with real processes, without --sim")
    base = None if name == RANDOM else find_scenario(name)
    if base is not None and (peers or heights or byzantine):
        raise UsageError(f"--peers, --heights and --byzantine go with {RANDOM}; {name} has its own")
    first = seed if seed is not None else base.seed if base is not None else 1
    numbers = _numbers(kept)

    def scenario_of(number: int) -> Scenario:
        if base is not None:
            scenario = with_seed(base, number)
        else:
            count, last = peers or DEFAULT_PEERS, heights or DEFAULT_HEIGHTS
            if 3 * len(byzantine) >= 2 * count:
                raise UsageError(f"{len(byzantine)} liars of {count} peers: nothing is promised any more")
            scenario = random_scenario(number, count, last, byzantine)
            verify_scenario(scenario, RANDOM)
        return scenario if numbers is None else keep(scenario, numbers)

    def repeat(number: int, parts: tuple[int, ...] | None = numbers) -> str:
        shape = f"{f' --peers {peers}' if peers else ''}{f' --heights {heights}' if heights else ''}"
        liars = "".join(f" --byzantine {spec}" for spec in byzantine)
        only = "" if parts is None else f" --keep {','.join(map(str, parts)) or '-'}"
        return f"p2pfed lab run {name} --sim --seed {number}{shape}{liars}{only}"

    if is_told:
        lines, is_broken = _told(scenario_of(first))
        click.echo("\n".join(lines))
        sys.exit(1 if is_broken else 0)
    sums = run_seeds(scenario_of, first, schedules, repeat, _teller(schedules))
    for failed, violations in sums.failures[:SHRUNK_MAX]:
        for violation in violations:
            click.echo(f"seed {failed}: {violation}", err=True)
        scenario = scenario_of(failed)
        needed = shrink(scenario)
        chosen = needed if numbers is None else tuple(numbers[place] for place in needed)
        click.echo(f"repeat with: {repeat(failed, chosen)}", err=True)
        click.echo("\n".join(_told(keep(scenario, needed))[0]), err=True)
    report = _report(name, first, scenario_of(first), sums)
    if as_json:
        click.echo(json.dumps(report))
    else:
        click.echo("\n".join(f"{key:<18} {value}" for key, value in report.items()))
    sys.exit(1 if sums.violations else 0)


def _verify_given(ctx: click.Context) -> None:
    """Raise UsageError for an option that real processes would not heed."""
    for option in ctx.command.params:
        is_given = ctx.get_parameter_source(option.name or "") is not click.core.ParameterSource.DEFAULT
        if option.name in _SIMULATED and is_given:
            raise UsageError(f"{option.opts[0]} goes with --sim")


def _play(name: str, output: Path | None, *, as_json: bool) -> int:
    """Run a scenario with real processes; return the exit code."""
    if name == RANDOM:
        raise UsageError(
            f"{RANDOM} draws crashes and lost messages, which processes can't do; run it with --sim"
        )
    scenario = find_scenario(name)
    verify_playable(scenario, name)
    with TemporaryDirectory(prefix="p2pfed-lab-") as made:
        played = play(scenario, output or Path(made) / "net", lambda line: click.echo(line, err=True))
    report = {
        "schema": "p2pfed.lab-play/2", "name": name, "peers": scenario.peers,
        "byzantine": list(scenario.byzantine), "heights": list(played.heights),
        "violations": list(played.violations), "accuracy": round(played.came.accuracy, 4),
        "model": played.model, "convicted": sorted(played.came.convicted),
        "refused": sorted(played.came.refused), "blamed": sorted(played.came.blamed),
        "returns": played.came.returns, "commit_ms": played.commit_ms, "seconds": played.seconds,
    }  # fmt: skip
    if as_json:
        click.echo(json.dumps(report))
    else:
        click.echo("\n".join(f"{key:<18} {value}" for key, value in report.items()))
    return 1 if played.violations else 0


def _numbers(kept: str | None) -> tuple[int, ...] | None:
    if kept is None:
        return None
    try:
        return tuple(sorted({int(part) for part in kept.split(",")})) if kept != "-" else ()
    except ValueError:
        raise UsageError(f"--keep takes numbers of faults, like 0,2, not {kept!r}") from None


def _told(scenario: Scenario) -> tuple[list[str], bool]:
    """Return a run in words, and whether it broke a law."""
    transcript = Transcript()
    result = run_world(scenario, transcript)
    end = [f"violation: {text}" for text in result.violations]
    end.append(f"heights {list(result.heights)} after {result.virtual_ms} ms, forks {result.forks}")
    end.append(f"trace {result.trace_hash}")
    return [*describe(scenario), *transcript.tail(), *end], bool(result.violations)


def _teller(schedules: int):  # type: ignore[no-untyped-def]
    told_s = time.monotonic()

    def tell(sums: Tally) -> None:
        nonlocal told_s
        if time.monotonic() - told_s > TELL_S:
            told_s = time.monotonic()
            click.echo(f"{sums.schedules}/{schedules} runs, {sums.violations} failed", err=True)

    return tell


def _report(name: str, seed: int, scenario: Scenario, sums: Tally) -> dict[str, object]:
    everybody = scenario.peers + scenario.observers
    return {
        "schema": "p2pfed.lab-run/1",
        "name": name,
        "seed": seed,
        "schedules": sums.schedules,
        "peers": scenario.peers,
        "byzantine": list(scenario.byzantine),
        "violations": sums.violations,
        "forks": sums.forks,
        "accused_power_min": sums.accused_power_min,
        "included": sums.included,
        "older": sums.older,
        "crashes": sums.crashes,
        "fired": dict(sorted(sums.fired.items())),
        "blocks": sums.blocks,
        "accuracy_min": round(sums.accuracy_min, 4),
        "virtual_ms": sums.virtual_ms,
        "heights_per_minute": round(60_000 * sums.blocks / max(sums.virtual_ms, 1), 1),
        "commit_ms": sums.commit_ms,
        "events": sums.events,
        "messages": sums.messages,
        "message_bytes": sums.message_bytes,
        "duplicates": sums.duplicates,
        "cpu_s": round(sums.cpu_s, 2),
        "cpu_ms_per_height": round(1_000 * sums.cpu_s / max(sums.blocks * everybody, 1), 2),
        "node_cpu_ms_per_height": round(1_000 * sums.node_cpu_s / max(sums.blocks * everybody, 1), 2),
        "trace_hash": sums.trace.hex(),
    }
