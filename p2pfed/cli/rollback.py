"""`p2pfed rollback`: go back to the state after an earlier block."""

from __future__ import annotations

import json

import click
import msgspec

from p2pfed.cli.options import home_option, json_option
from p2pfed.runtime.peer import read_genesis
from p2pfed.storage.home import Home
from p2pfed.storage.rollback import RollbackPlan, plan_rollback, roll_back
from p2pfed.storage.store import Store
from p2pfed.types.params import HEIGHT_MAX


@click.command()
@click.argument("height", type=click.IntRange(1, HEIGHT_MAX))
@home_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def rollback(height: int, home: Home, yes: bool, as_json: bool) -> None:
    """Forget the blocks above HEIGHT; the peer fetches them again when it starts.

    Its whole state must be here, see `p2pfed inspect`. What this key has signed is not forgotten.
    """
    genesis = read_genesis(home)
    with home.lock():
        store = Store(home, genesis)
        try:
            plan = plan_rollback(store, height)
            for line in _lines(plan):
                click.echo(line, err=True)
            if not yes:
                click.confirm("Go on?", abort=True, err=True)
            roll_back(store, plan)
        finally:
            store.close()
    row = {"schema": "p2pfed.rollback/1", **msgspec.structs.asdict(plan)}
    click.echo(json.dumps(row) if as_json else f"the newest block is {plan.height} now")


def _lines(plan: RollbackPlan) -> list[str]:
    return [
        f"from block {plan.tip} back to {plan.height}: {plan.blocks} blocks are deleted, with their ledgers, "
        f"the log of votes, and {plan.blobs} models and payloads ({plan.bytes / 1e6:.1f} MB)",
        f"kept: what this key has signed, up to height {plan.signed_height}; "
        "it signs nothing again below that, and fetches those blocks from others",
    ]
