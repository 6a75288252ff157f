"""`p2pfed doctor`: what is wrong with a peer, and how to mend it."""

from __future__ import annotations

import asyncio
import json
import os
import time

import click
import msgspec

from p2pfed.cli.options import home_option, json_option
from p2pfed.cli.text import printable
from p2pfed.errors import LocalError
from p2pfed.runtime.config import load_config
from p2pfed.runtime.doctor import Finding, examine
from p2pfed.storage.home import Home


@click.command()
@home_option
@json_option
def doctor(home: Home, as_json: bool) -> None:
    """Look for what keeps a peer from working: files, ports, space, limits, other peers, the clock.

    It can run beside the peer and changes nothing. Exit code 1 where something fails.
    """
    if not home.path.is_dir():
        raise LocalError(f"there is no home folder {home.path}; name the folder of a peer with --home")
    config = load_config(home.config, os.environ, {})

    async def look() -> bool:
        has_failed = False
        async for finding in examine(home, config, lambda: time.time_ns() // 1_000_000):
            has_failed |= finding.state == "fail"
            _show(finding, as_json)
        return has_failed

    if asyncio.run(look()):
        raise click.exceptions.Exit(1)


def _show(finding: Finding, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"schema": "p2pfed.doctor/1", **msgspec.structs.asdict(finding)}))
        return
    click.echo(f"{finding.state:<5} {finding.check:<17} {printable(finding.found)}")
    if finding.remedy:
        click.echo(f"{'':<23} {printable(finding.remedy)}")
