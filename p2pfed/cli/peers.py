"""`p2pfed peers`: the peers that a peer knows."""

from __future__ import annotations

import json

import click

from p2pfed.cli.options import home_option, json_option
from p2pfed.cli.reading import ask_status
from p2pfed.cli.text import printable
from p2pfed.runtime.peer import read_genesis
from p2pfed.storage.home import Home
from p2pfed.storage.peers_file import load_peers
from p2pfed.types.address import peer_id


@click.command()
@home_option
@json_option
def peers(home: Home, as_json: bool) -> None:
    """List the peers that a peer knows: connected or not, and where they listen."""
    status = ask_status(home)
    if status is not None:
        earned = {row["id"]: row["earned"] for row in status["earnings"]}
        rows = [{**row, "earned": earned.get(row["id"], 0)} for row in status["peers"]]
    else:
        genesis = read_genesis(home)
        rows = [
            {"id": peer_id(record.key), "is_member": True, "is_connected": False,
             "addresses": list(record.addresses)}
            for record in load_peers(home.peers, genesis.chain_id)
        ]  # fmt: skip
        click.echo("the peer does not run; this is what it remembers", err=True)
    for row in rows:
        if as_json:
            click.echo(json.dumps({"schema": "p2pfed.peer/1", **row}))
        else:
            state = "connected" if row["is_connected"] else "away"
            role = "member" if row["is_member"] else "observer"
            address = row["addresses"][0].partition("/p2p/")[0] if row["addresses"] else "address unknown"
            paid = f"  earned {row['earned']}" if row.get("earned") else ""
            click.echo(f"{row['id']}  {state:<9}  {role:<8}  {printable(address)}{paid}")
