"""`p2pfed blocks`: the final blocks on this disk."""

from __future__ import annotations

import json
from typing import Any

import click
import msgspec

from p2pfed.aggregation.sketch import UNIT
from p2pfed.chain.update_set import update_set
from p2pfed.cli.options import home_option, json_option
from p2pfed.cli.reading import block_rows, open_chain
from p2pfed.errors import LocalError
from p2pfed.storage.home import Home
from p2pfed.types.address import short_id
from p2pfed.types.block import Block
from p2pfed.types.transaction import Transaction


@click.group(invoke_without_command=True)
@home_option
@json_option
@click.option("--last", type=click.IntRange(1), default=20, show_default=True, help="How many.")
@click.pass_context
def blocks(ctx: click.Context, home: Home, as_json: bool, last: int) -> None:
    """List the newest final blocks; `blocks show H` shows one whole."""
    if ctx.invoked_subcommand is not None:
        return
    with open_chain(home) as chain:
        tip = chain.height
        for row in block_rows(chain, range(max(1, tip - last + 1), tip + 1)):
            if as_json:
                click.echo(json.dumps(row))
            else:
                proposer = short_id(bytes.fromhex(row["proposer"]))
                rule = row["rule"] or "empty"
                line = f"{row['height']:>6}  {row['hash'][:12]}  round {row['round']}"
                line += f"  updates {row['updates']:<3} {rule:<22} by {proposer}"
                click.echo(f"{line}  signatures {row['signatures']}")


@blocks.command("show")
@click.argument("height")
@home_option
@json_option
def show(height: str, home: Home, as_json: bool) -> None:
    """Show the block of HEIGHT (a number, or `latest`) with every field of its header."""
    with open_chain(home) as chain:
        wanted = chain.height if height == "latest" else int(height) if height.isdigit() else -1
        block = chain.block(wanted)
        tip = chain.height
    if block is None:
        raise LocalError(f"there is no block {height}; the heights are 1 to {tip}")
    header = {
        field.name: _plain(getattr(block.header, field.name))
        for field in msgspec.structs.fields(block.header)
    }
    if as_json:
        commit = {"round": block.commit.round, "signers": block.commit.bitmap.hex()}
        updates = [update.trainer.hex() for update in block.body.updates]
        row = {"schema": "p2pfed.block/1", "hash": block.header.value_id.hex(), **header}
        lists = {
            "updates": updates,
            "transactions": [transaction_row(transaction) for transaction in block.body.signed_transactions],
            "scores": {trainer.hex(): value for trainer, value in _scores(block)},
            "evidence": [type(item).__name__ for item in block.body.evidence],
        }
        click.echo(json.dumps({**row, "commit": commit, **lists}))
        return
    click.echo(f"{'hash':<22} {block.header.value_id.hex()}")
    for name, value in header.items():
        click.echo(f"{name:<22} {value}")
    for update in block.body.updates:
        click.echo(f"{'update':<22} {short_id(update.trainer)} examples {update.examples}")
    for trainer, value in _scores(block):
        click.echo(f"{'score':<22} {short_id(trainer)} {value / UNIT:.4f}")
    for transaction in block.body.signed_transactions:
        amounts = transaction_row(transaction)
        kind, sender = amounts.pop("kind"), short_id(transaction.sender)
        del amounts["sender"]
        rest = "  ".join(f"{name} {value}" for name, value in amounts.items())
        click.echo(f"{'transaction':<22} {kind} of {sender}  {rest}")
    for item in block.body.evidence:
        click.echo(f"{'evidence':<22} {type(item).__name__} of height {item.height}")
    click.echo(f"{'commit':<22} round {block.commit.round}, {len(block.commit.signatures)} signatures")


def _scores(block: Block) -> list[tuple[bytes, int]]:
    """Return what each update of the set scored, in units of 2^-16; nothing where nobody is paid."""
    if block.body.scores is None:
        return []
    merged = update_set(block.body.updates, block.header.round0).updates
    return [
        (update.trainer, score.value) for update, score in zip(merged, block.body.scores.scores, strict=True)
    ]


def transaction_row(transaction: Transaction) -> dict[str, Any]:
    """Return a transaction as JSON data: its kind and every field but the signature."""
    fields = msgspec.structs.asdict(transaction)
    del fields["signature"]
    kind = type(transaction).__name__.lower()
    return {"kind": kind, **{name: _plain(value) for name, value in fields.items()}}


def _plain(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value
