"""`p2pfed status`: where a peer stands and whom it waits for."""

from __future__ import annotations

import json
from typing import Any

import click

from p2pfed.aggregation.sketch import UNIT
from p2pfed.cli.options import home_option, json_option
from p2pfed.cli.reading import answers, ask_status, stored_status
from p2pfed.cli.text import printable
from p2pfed.errors import TargetMissedError
from p2pfed.node.catch_up import CUT_OFF_REMEDY
from p2pfed.runtime.logs import short
from p2pfed.storage.home import Home
from p2pfed.types.params import JAIL_HEIGHTS


@click.command()
@home_option
@json_option
@click.option("--probe", type=click.Choice(["live", "ready"]),
              help="Print nothing; exit code 6 unless it answers (live) or takes part (ready).")  # fmt: skip
def status(home: Home, as_json: bool, probe: str | None) -> None:
    """Say where a peer stands: its last final block, its step, and whom it waits for."""
    if probe is not None:
        if not answers(home, f"/{probe}z"):
            raise TargetMissedError(f"the peer of {home.path} is not {probe}")
        return
    found = ask_status(home)
    is_running = found is not None
    shown = found if found is not None else stored_status(home)
    if as_json:
        click.echo(json.dumps(shown))
        return
    for line in _lines(shown, is_running=is_running):
        click.echo(line)


def _lines(status: dict[str, Any], *, is_running: bool) -> list[str]:
    name = printable(status["network"])
    lines = [
        f"network   {name}  chain {status['chain'][:16]}…  transport {status['transport']}",
        f"height    {status['height']}  hash {status['hash'][:16]}",
    ]
    lines += _stake_lines(status)
    if not is_running:
        return [*lines, "peer      does not run; start it with `p2pfed run`"]
    if status["figures"]:
        figures = "  ".join(f"{name} {value:.3f}" for name, value in status["figures"].items())
        lines.append(f"model     {figures}")
    each, counted = status["update_bytes"], status["updates_counted"]
    lines.append(
        f"updates   {status['codec']}, {each:,} bytes each; {counted} in the last merged height: "
        f"{each * counted:,} bytes a height"
    )
    lines.append(f"stake     {status['stake_connected']} of {status['stake_total']} connected")
    lines.append(f"learner   {status['learner']}")
    if status["step"] == "state_sync":
        lines.append(f"step      {_sync_line(status['sync'])}")
        return lines
    if status["step"] == "cut_off":
        block = status["height"] + 1
        lines.append(f"step      cut_off: no connected peer has block {block} any more; {CUT_OFF_REMEDY}")
    elif status["is_finished"]:
        lines.append("step      finished: this is the network's last height")
    elif status["is_halted"]:
        lines.append(
            "step      halted: peers of more than 2/3 of the stake must be connected; "
            "it goes on by itself when they return"
        )
    else:
        waiting = ", ".join(short(peer) for peer in status["waiting_for"]) or "nobody"
        lines.append(
            f"step      {status['step']} of height {status['height'] + 1}, round {status['round']}; "
            f"waits for {waiting}"
        )
    return lines


def _sync_line(sync: dict[str, Any] | None) -> str:
    """Return how far a peer is that joins by state."""
    if sync is None:
        return "state_sync: looks for a snapshot and verifies its header"
    megabytes = f"{sync['done'] / 1e6:.1f} of {sync['size'] / 1e6:.1f} MB"
    share = 100 * sync["done"] // max(sync["size"], 1)
    return f"state_sync: {megabytes} ({share} %) of the state of height {sync['height']} are here"


def _stake_lines(status: dict[str, Any]) -> list[str]:
    """Return the own account, and who of the others does not vote though it has a bond."""
    account, lines = status["account"], []
    if account is not None:
        amounts = ", ".join(
            f"{name} {account[name]}"
            for name in ("balance", "bond", "power", "exiting", "unbonding")
            if account[name] or name in ("balance", "bond")
        )
        lines.append(f"account   {amounts}")
        if account["tombstoned"]:
            lines.append(
                "          its votes contradict each other: it never votes again, but may unbond the rest"
            )
        elif account["jailed_at"]:
            lines.append(
                f"          jailed by block {account['jailed_at']} for being away; `p2pfed unjail` ends it, "
                f"from block {account['jailed_at'] + JAIL_HEIGHTS} on"
            )
    for row in status["earnings"]:
        share = row["last_update"] / UNIT
        lines.append(f"earned    {row['earned']} by {short(row['id'])}, whose last update scored {share:.3f}")
    jailed = [short(row["id"]) for row in status["stakes"] if row["jailed_at"] and not row["tombstoned"]]
    if jailed:
        lines.append(f"jailed    {', '.join(jailed)}")
    return lines
