"""`p2pfed testnet`: a network of several peers in one folder."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import click

from p2pfed.chain.roles import parse_roles
from p2pfed.cli.founding_options import (
    founding_options,
    learner_config,
    network_params,
    parse_byzantine,
    parse_stakes,
)
from p2pfed.cli.options import json_option
from p2pfed.cli.reading import ask_status, tip_of
from p2pfed.errors import LocalError, UsageError
from p2pfed.runtime import testnet as network
from p2pfed.runtime.config import load_config
from p2pfed.storage.home import Home

ANSWER_TIMEOUT_S, POLL_S = 30, 0.05  # A slower machine starts its peers all the same; nobody waits for it.

_folder = click.argument("folder", type=click.Path(path_type=Path), default=Path("p2pfed-net"))


@click.group()
def testnet() -> None:
    """Make, start and stop a network of several peers."""


@testnet.command("create")
@click.option("--peers", type=click.IntRange(1, network.PEERS_MAX), default=4, show_default=True)
@click.option("--byzantine", multiple=True, metavar="COUNT:KIND[:key=value,…]",
              help="Make the last peers lie; may be repeated.")  # fmt: skip
@click.option("--stake", help="Bonds, one a peer, separated by commas; 10 each by default.")
@click.option("--role", multiple=True, metavar="COUNT:ROLE",
              help="From the first peer on, whose stake is for what: validator, trainer, both.")  # fmt: skip
@click.option("--balance", type=click.IntRange(0), default=100, show_default=True,
              help="What each peer can bond or transfer.")  # fmt: skip
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), default=Path("p2pfed-net"), show_default=True
)
@click.option("--hosts", default="", help="Addresses of machines, separated by commas: one archive for each.")
@click.option("--port", type=click.IntRange(0, 65535), default=network.PORT_FIRST, show_default=True)
@click.option(
    "--http-port", type=click.IntRange(0, 65535), default=network.HTTP_PORT_FIRST, show_default=True
)
@click.option("--heights", type=click.IntRange(0), default=0, help="The network's last height; 0: none.")
@click.option("--linger", type=click.IntRange(0), default=30, show_default=True, metavar="SECONDS")
@click.option("--unsafe", is_flag=True, help="Allow a third of the stake or more to lie.")
@founding_options(preset="local", app="digits:mlp")
def create(
    peers: int,
    byzantine: tuple[str, ...],
    stake: str | None,
    role: tuple[str, ...],
    output: Path,
    **given: Any,
) -> None:
    """Write a home for each peer; nothing runs yet."""
    if peers > 1 and not given["port"]:
        raise UsageError("with --port 0 no peer knows where the others listen; name the first peer's port")
    plan = network.TestnetPlan(
        peers=peers,
        stakes=parse_stakes(stake, peers),
        roles=parse_roles(role, peers),
        balance=given["balance"],
        byzantine=parse_byzantine(byzantine, peers),
        learner=learner_config(given, peers),
        params=network_params(given, given["heights"]),
        transport=given["transport"],
        hosts=tuple(host for host in given["hosts"].split(",") if host),
        port=given["port"],
        http_port=given["http_port"],
        linger_s=given["linger"],
        seed=given["seed"],
    )
    network.verify_byzantine_stake(plan, unsafe=given["unsafe"])
    made = network.create_testnet(output, plan)
    liars = sum(1 for peer in made.peers if peer.byzantine)
    click.echo(f"{peers} peers ({liars} Byzantine) of network {made.chain[:12]}… in {output}", err=True)
    if plan.hosts:
        click.echo("copy each archive to its machine, unpack it, and run every peer in it:", err=True)
        click.echo("p2pfed run --home peer0")
    else:
        click.echo(f"p2pfed testnet start {output}")


@testnet.command("start")
@_folder
def start(folder: Path) -> None:
    """Start every peer that doesn't run, each as a process of its own, and wait until they answer."""
    made = network.load_testnet(folder)
    started: list[tuple[Home, int]] = []
    for peer in made.peers:
        home = folder / peer.name
        if network.running_pid(home) is None:
            pid = network.start_peer(home)
            started.append((Home(home), pid))
            click.echo(f"{peer.name} started, process {pid}, log {home / 'logs' / 'output.log'}", err=True)
        else:
            click.echo(f"{peer.name} runs already", err=True)
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    for own_home, pid in started:
        asyncio.run(_wait_until_it_answers(own_home, pid, deadline))


async def _wait_until_it_answers(home: Home, pid: int, deadline: float) -> None:
    """Return when the next command may ask the peer; raises LocalError where it has ended instead."""
    has_api = load_config(home.config, os.environ, {}).http.enabled
    while time.monotonic() < deadline:
        if home.is_locked() and (not has_api or ask_status(home) is not None):
            return
        if os.waitpid(pid, os.WNOHANG) != (0, 0):  # noqa: ASYNC222 - it does not wait
            raise LocalError(f"{home.path.name} ended at once; {home.logs / 'output.log'} says why")
        await asyncio.sleep(POLL_S)


@testnet.command("stop")
@_folder
def stop(folder: Path) -> None:
    """Stop every peer that runs."""
    made = network.load_testnet(folder)
    stopped = network.stop_peers([folder / peer.name for peer in made.peers])
    click.echo(f"stopped {', '.join(stopped)}" if stopped else "no peer ran", err=True)


@testnet.command("status")
@_folder
@json_option
def status(folder: Path, as_json: bool) -> None:
    """Say of each peer whether it runs, and its last final height."""
    for peer in network.load_testnet(folder).peers:
        home = Home(folder / peer.name)
        height, block_hash = tip_of(home)
        row = {
            "schema": "p2pfed.testnet/1",
            "name": peer.name,
            "running": network.running_pid(home.path) is not None,
            "height": height,
            "hash": block_hash,
            "byzantine": peer.byzantine,
        }
        if as_json:
            click.echo(json.dumps(row))
        else:
            state = "runs" if row["running"] else "stopped"
            click.echo(f"{peer.name:<8} {state:<8} height {height:<6} {block_hash[:12]} {peer.byzantine}")


@testnet.command("logs")
@_folder
@click.option("--peer", default="peer0", show_default=True, help="Whose log.")
@click.option("--lines", "-n", type=click.IntRange(1), default=50, show_default=True)
def logs(folder: Path, peer: str, lines: int) -> None:
    """Print the last lines of a peer's output."""
    names = [known.name for known in network.load_testnet(folder).peers]
    if peer not in names:
        raise LocalError(f"there is no {peer!r} in {folder}; there are {', '.join(names)}")
    path = folder / peer / "logs" / "output.log"
    if not path.exists():
        raise LocalError(f"{peer} has not run yet; start it with `p2pfed testnet start {folder}`")
    for line in path.read_text(errors="replace").splitlines()[-lines:]:
        click.echo(line)


@testnet.command("clean")
@_folder
@click.confirmation_option(prompt="Delete every home, key and block of this testnet?")
def clean(folder: Path) -> None:
    """Stop the peers and delete the folder."""
    made = network.load_testnet(folder)
    network.stop_peers([folder / peer.name for peer in made.peers])
    shutil.rmtree(folder)
