"""`p2pfed blocks`: the final blocks on this disk."""

from __future__ import annotations

import json

import click
import msgspec

from p2pfed.cli.options import home_option, json_option
from p2pfed.cli.reading import block_rows, open_chain
from p2pfed.errors import LocalError
from p2pfed.storage.home import Home
from p2pfed.types.address import short_id


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
        click.echo(json.dumps({**row, "commit": commit, "updates": updates}))
        return
    click.echo(f"{'hash':<22} {block.header.value_id.hex()}")
    for name, value in header.items():
        click.echo(f"{name:<22} {value}")
    for update in block.body.updates:
        click.echo(f"{'update':<22} {short_id(update.trainer)} examples {update.examples}")
    click.echo(f"{'commit':<22} round {block.commit.round}, {len(block.commit.signatures)} signatures")


def _plain(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value
