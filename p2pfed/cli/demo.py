"""`p2pfed demo`: a whole network with liars on this machine, and a verdict."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from p2pfed.cli.founding_options import (
    founding_defaults,
    learner_config,
    network_params,
    parse_byzantine,
    parse_stakes,
)
from p2pfed.cli.options import json_option
from p2pfed.errors import LocalError
from p2pfed.learning.learner import ACCURACY_PUBLIC
from p2pfed.runtime.demo.chart import Curve, chart_svg
from p2pfed.runtime.demo.checks import Check, judge
from p2pfed.runtime.demo.comparison import train_with_mean
from p2pfed.runtime.demo.network import NetworkRun, free_ports, run_network
from p2pfed.runtime.feed import Entry
from p2pfed.runtime.logs import TextLog, escape
from p2pfed.runtime.peer import read_genesis
from p2pfed.runtime.report_page import REPORT_MODE, report_html
from p2pfed.runtime.runs import read_run
from p2pfed.runtime.testnet import TestnetPlan, create_testnet, verify_byzantine_stake
from p2pfed.storage.files import disk_errors, replace_file
from p2pfed.storage.home import Home
from p2pfed.storage.store import Store
from p2pfed.types.model import ModelState

FIRST_PORT, FIRST_HTTP_PORT = 7400, 8400
LINGER_S = 5
TIMEOUT_BASE_S, TIMEOUT_PER_HEIGHT_S = 90, 15  # The deadline of a run that hangs; a sound one is far below.
DATASETS = ("digits", "mnist")
SHOWN = frozenset({"block.committed", "block.evaluated", "update.refused", "proposal.refused", "peer.slashed",
                   "peer.equivocated"})  # fmt: skip


@click.command()
@click.option("--peers", type=click.IntRange(1, 64), default=7, show_default=True)
@click.option("--byzantine", multiple=True, metavar="COUNT:KIND[:key=value,…]",
              help="The last peers lie; `none`: a clean run.  [default: 2:sign_flip of 7]")  # fmt: skip
@click.option("--stake", help="Bonds, one a peer, separated by commas; 10 each by default.")
@click.option("--rules", default="clip_nnm_trimmed_mean", show_default=True, help="Tried in this order.")
@click.option("--dataset", type=click.Choice(DATASETS), default="digits", show_default=True)
@click.option("--data-dir", default="", help="Folder with the MNIST files.")
@click.option("--partition", default="dirichlet:1.0", show_default=True)
@click.option("--heights", type=click.IntRange(1), default=20, show_default=True)
@click.option("--transport", type=click.Choice(["tcp", "libp2p"]), default="tcp", show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("p2pfed-demo"),
              show_default=True, help="Where homes, events, chart and verdict are kept.")  # fmt: skip
@click.option("--unsafe", is_flag=True, help="Allow a third of the stake or more to lie.")
@json_option
def demo(
    peers: int, byzantine: tuple[str, ...], stake: str | None, out: Path, as_json: bool, **given: Any
) -> None:
    """Run a real network of processes with liars, train it, and judge what is on its disks.

    Ends with three separate trainings side by side, chart.svg, events.jsonl and checks; exit code 1 where a
    check fails.
    """
    wanted = byzantine or (("2:sign_flip:scale=4",) if peers >= 7 else ())
    kinds = parse_byzantine(tuple(text for text in wanted if text != "none"), peers)
    # Twenty heights are over before momentum pays (docs/qa/laboratory.md).
    given = founding_defaults("local", f"{given['dataset']}:mlp") | {"outer": "off"} | given
    learner = learner_config(given, peers)
    plan = TestnetPlan(
        peers=peers,
        stakes=parse_stakes(stake, peers),
        byzantine=kinds,
        learner=learner,
        params=network_params(given, given["heights"]),
        transport=given["transport"],
        name="demo",
        port=free_ports(peers, FIRST_PORT),
        http_port=free_ports(peers, FIRST_HTTP_PORT),
        linger_s=LINGER_S,
        seed=given["seed"],
    )
    verify_byzantine_stake(plan, unsafe=given["unsafe"])
    folder = _fresh(out)
    heights = given["heights"]
    liars = ", ".join(sorted(set(kinds))) or "no liar"
    _say(f"founding a network of {peers} peers ({len(kinds)} Byzantine: {liars}) in {folder}", as_json)
    testnet = create_testnet(folder, plan)
    watched = next(peer.name for peer in testnet.peers if not peer.byzantine)
    timeout_s = TIMEOUT_BASE_S + TIMEOUT_PER_HEIGHT_S * heights
    _say(f"{peers} processes start; these are the lines of {watched}:", as_json)
    run = asyncio.run(run_network(folder, testnet, timeout_s, _follow(watched, as_json)))
    _write_events(folder, run)
    genesis = read_genesis(Home(folder / watched))
    _say("checking every disk offline", as_json)
    checks = judge(run, genesis, heights)
    _say("training the same peers in this process with the plain mean, for comparison", as_json)
    model = _initial_model(Home(folder / watched))
    attacked = train_with_mean(genesis, model, learner, kinds, heights)
    clean = train_with_mean(genesis, model, learner, (), heights)
    curves = (
        Curve(f"real network, {given['rules']}", network_accuracies(run, watched)),
        Curve("mean under the same attack, in process", _accuracies(attacked.metrics)),
        Curve("mean without attack, in process", _accuracies(clean.metrics)),
    )
    title = f"{peers} peers, {liars}"
    with disk_errors(f"write {folder / 'chart.svg'}"):
        (folder / "chart.svg").write_text(chart_svg(title, curves), encoding="utf-8")
    _conclude(folder, run, curves, checks, liars, as_json=as_json)
    if not all(check.is_held for check in checks):
        raise click.exceptions.Exit(1)


def network_accuracies(run: NetworkRun, name: str) -> tuple[float, ...]:
    """Return what a peer measured after each height, from height 1 on; a skipped one repeats the last."""
    measured = {
        event["height"]: event[ACCURACY_PUBLIC]
        for peer, event in run.events
        if peer == name and event.get("event") == "block.evaluated" and ACCURACY_PUBLIC in event
    }
    accuracies: list[float] = []
    for height in range(1, max(measured, default=0) + 1):
        accuracies.append(measured.get(height, accuracies[-1] if accuracies else 0.0))
    return tuple(accuracies)


def verdict_on_mean(robust: float, mean: float) -> str:
    """Return one sentence that compares the two, also where the mean holds."""
    if robust - mean > 0.03:
        return f"the plain mean ends {robust - mean:.3f} lower under this attack"
    return "the plain mean holds against this attack too: it is no reason to need a robust rule"


def _accuracies(metrics: Sequence[dict[str, float | int]]) -> tuple[float, ...]:
    return tuple(float(figures.get(ACCURACY_PUBLIC, 0.0)) for figures in metrics)


def _follow(watched: str, as_json: bool) -> Any:
    text = TextLog(lambda line: click.echo(line, err=True))

    def on_event(name: str, event: dict[str, Any]) -> None:
        if name == watched and event.get("event") in SHOWN and not as_json:
            data = {key: value for key, value in event.items() if key not in ("schema", "time_ms", "event")}
            text(Entry(event["time_ms"], event["event"], data))

    return on_event


def _conclude(
    folder: Path,
    run: NetworkRun,
    curves: Sequence[Curve],
    checks: Sequence[Check],
    liars: str,
    *,
    as_json: bool,
) -> None:
    finals = [curve.figures[-1] if curve.figures else 0.0 for curve in curves]
    is_held = all(check.is_held for check in checks)
    sentence = verdict_on_mean(finals[0], finals[1])
    verdict = {
        "schema": "p2pfed.demo/1",
        "held": is_held,
        "seconds": round(run.took_s, 2),
        "liars": liars,
        "trainings": [
            {"label": curve.label, "accuracy": final} for curve, final in zip(curves, finals, strict=True)
        ],
        "comparison": sentence,
        "checks": [msgspec.to_builtins(check) for check in checks],
        "folder": str(folder),
    }
    with disk_errors(f"write {folder / 'verdict.json'}"):
        (folder / "verdict.json").write_text(json.dumps(verdict, indent=2) + "\n", encoding="utf-8")
    replace_file(folder / "report.html", report_html([read_run(folder)]).encode(), mode=REPORT_MODE)
    if as_json:
        click.echo(json.dumps(verdict))
        return
    click.echo("\nthree separate trainings with equal seeds               accuracy")
    for curve, final in zip(curves, finals, strict=True):
        click.echo(f"  {curve.label:<52} {final:.3f}")
    click.echo(f"  {sentence}\n")
    for check in checks:
        click.echo(f"  {'ok    ' if check.is_held else 'FAILED'} {check.name}: {escape(check.detail)}")
    click.echo(f"\n{'everything held' if is_held else 'a check FAILED'}; the network took {run.took_s:.1f} s")
    click.echo(f"look at {folder / 'report.html'}; chart.svg, events.jsonl and the homes are beside it")
    click.echo(f"check a disk yourself: p2pfed verify --deep --home {folder / 'peer0'}")


def _write_events(folder: Path, run: NetworkRun) -> None:
    with disk_errors(f"write {folder / 'events.jsonl'}"), (folder / "events.jsonl").open("w") as file:
        for name, event in run.events:
            file.write(json.dumps({"peer_name": name, **event}) + "\n")


def _fresh(out: Path) -> Path:
    """Return `out`, or the next free `out-2`, `out-3` …: a run is never written over another."""
    folder, number = out, 1
    while folder.exists() and any(folder.iterdir()):
        number += 1
        folder = out.with_name(f"{out.name}-{number}")
        if number > 9_999:
            raise LocalError(f"{out} and its numbered neighbours are all in use; name another with --out")
    return folder


def _initial_model(home: Home) -> ModelState:
    store = Store(home, read_genesis(home), read_only=True)
    try:
        model = store.load_model(0)
    finally:
        store.close()
    assert model is not None
    return model


def _say(sentence: str, as_json: bool) -> None:
    if not as_json:
        click.echo(f"{time.strftime('%H:%M:%S')} {sentence}", err=True)
