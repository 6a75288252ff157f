"""`p2pfed light`: follow a chain by a few headers, trusting no peer, and prove what is in a block."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import click

from p2pfed.chain.proofs import why_not_counted
from p2pfed.cli.model_file import write_model
from p2pfed.cli.options import json_option, parse_checkpoint, parse_digest, parse_key
from p2pfed.cli.progress import Progress
from p2pfed.cli.text import printable
from p2pfed.errors import UsageError
from p2pfed.ledger.summary import account_row
from p2pfed.primitives import codec
from p2pfed.runtime.addresses import parse_addresses
from p2pfed.runtime.clock import Clock
from p2pfed.runtime.config import NetworkConfig
from p2pfed.runtime.light import Fork, Found, LightClient, Plan, light_client
from p2pfed.storage.key_store import new_key
from p2pfed.types.params import HEIGHT_MAX

WITNESSES_WANTED = 2


@click.command()
@click.option("--chain", metavar="HEX", required=True, help="The network's chain id.")
@click.option("--join", multiple=True, required=True, metavar="MULTIADDR",
              help="The peer to follow; further ones are asked where it is of no use.")  # fmt: skip
@click.option("--witness", multiple=True, metavar="MULTIADDR",
              help="A peer that must have the same block; two are advised.")  # fmt: skip
@click.option("--checkpoint", metavar="H:HASH", help="Start from this block instead of genesis.")
@click.option("--height", type=click.IntRange(1, HEIGHT_MAX), help="The block to reach, else the newest.")
@click.option("--account", metavar="KEY", help="Show this account, proven: public key or peer id.")
@click.option("--update", metavar="ID", help="Show whether the block of --height counted this update.")
@click.option("--model", type=click.Path(path_type=Path, dir_okay=False),
              help="Write the block's model, each chunk proven, to this .npz or .safetensors.")  # fmt: skip
@click.option("--transport", type=click.Choice(["tcp", "libp2p"]), default="tcp", show_default=True,
              help="What the network speaks.")  # fmt: skip
@json_option
def light(
    chain: str,
    join: tuple[str, ...],
    witness: tuple[str, ...],
    checkpoint: str | None,
    height: int | None,
    transport: str,
    as_json: bool,
    **wanted: Any,
) -> None:
    """Follow a chain without its blocks: verify a few headers, and prove what is in one.

    It keeps nothing and needs no home. Exit code 7 where two blocks of one height are final.
    """
    account, update, model = _wanted(wanted, height)
    port = NetworkConfig().port
    plan = Plan(
        chain_id=parse_digest(chain, "--chain", "a chain id"),
        transport=transport,
        contacts=parse_addresses(join, port),
        witnesses=parse_addresses(witness, port),
        checkpoint=None if checkpoint is None else parse_checkpoint(checkpoint),
        height=height,
    )
    try:
        row = asyncio.run(_row(plan, account, update, model))
    except Fork as fork:
        click.echo(json.dumps(fork_row(fork)))  # With or without --json: it may never be seen again.
        raise
    if as_json:
        click.echo(json.dumps(row))
        return
    for line in _lines(row):
        click.echo(line)


def _wanted(wanted: dict[str, Any], height: int | None) -> tuple[bytes | None, bytes | None, Path | None]:
    account, update, model = wanted["account"], wanted["update"], wanted["model"]
    public = parse_key(account) if account is not None else None
    if account is not None and public is None:
        raise UsageError(
            f"--account takes a public key (66 hexadecimal digits) or a peer id, not {account!r}"
        )
    if update is not None and height is None:
        raise UsageError("--update needs --height: that of the block to look into, its base height + 1")
    if model is not None and model.suffix not in (".npz", ".safetensors"):
        raise UsageError(f"--model takes a file that ends in .npz or .safetensors, not {str(model)!r}")
    return public, None if update is None else parse_digest(update, "--update", "an update's id"), model


async def _row(plan: Plan, account: bytes | None, update: bytes | None, model: Path | None) -> dict[str, Any]:
    """Return what was found, and write the model."""
    clock = Clock()
    if len(plan.witnesses) < WITNESSES_WANTED:
        _note(
            f"{len(plan.witnesses)} of {WITNESSES_WANTED} witnesses are named: what a peer calls the newest "
            "block may be old, and false where a third of the stake lies; add --witness"
        )
    with _Steps() as steps:
        async with light_client(plan, new_key(), clock.now_ms, _note, steps) as client:
            found = await client.follow()
            row = found_row(found, clock.now_ms())
            if account is not None:
                row["account"] = await _account(client, found, account)
            if update is not None:
                row["update"] = await _update(client, found, update)
            if model is not None:
                await _write_model(client, found, model)
                row["model"] = str(model)
    return row


def found_row(found: Found, now_ms: int) -> dict[str, Any]:
    """Return the row of the block that was found."""
    header = found.block.header
    return {
        "schema": "p2pfed.light/1",
        "network": found.genesis.name,
        "chain": header.chain_id.hex(),
        "height": header.height,
        "hash": header.value_id.hex(),
        "time_ms": header.time_ms,
        "age_ms": now_ms - header.time_ms,
        "model_root": header.model_root.hex(),
        "state_root": header.state_root.hex(),
        "updates_root": header.updates_root.hex(),
        "from_height": found.start.height,
        "from_hash": found.start.value_id.hex() if any(found.start.value_id) else "",
        "headers": found.headers,
        "confirmed_by": list(found.confirmed_by),
    }


def fork_row(fork: Fork) -> dict[str, Any]:
    """Return the row that holds both blocks whole, for whoever judges them."""
    found = fork.divergence
    return {
        "schema": "p2pfed.fork/1",
        "kind": found.kind.value,
        "height": found.first.header.height,
        "common_height": found.common.height,
        "common_hash": found.common.value_id.hex(),
        "hashes": [block.header.value_id.hex() for block in (found.first, found.second)],
        "signers": [[key.hex() for key in keys] for keys in (found.first_signers, found.second_signers)],
        "common_signers": [key.hex() for key in found.common_signers],
        "blocks": [codec.encode(block).hex() for block in (found.first, found.second)],
        "evidence": [codec.encode(item).hex() for item in found.evidence],
    }


async def _account(client: LightClient, found: Found, public: bytes) -> dict[str, Any]:
    account = await client.account(found, public)
    if account is None:
        return {"key": public.hex(), "is_there": False}
    stake = await client.stake(found, public)
    return {"key": public.hex(), "is_there": True, **account_row(account, stake)}


async def _update(client: LightClient, found: Found, update_id: bytes) -> dict[str, Any]:
    update = await client.update(found, update_id)
    reason = why_not_counted(found.block.header, update)
    return {
        "id": update_id.hex(),
        "counted": not reason,
        "reason": reason,
        "trainer": update.trainer.hex() if update is not None else "",
    }


async def _write_model(client: LightClient, found: Found, output: Path) -> None:
    model, block = await client.model(found), found.block
    certified = block.header, block.commit
    write_model(output, output.suffix[1:], found.genesis, model, block.header.height, certified)


def _lines(row: dict[str, Any]) -> list[str]:
    start = f"height {row['from_height']}" if row["from_hash"] else "genesis"
    headers = "1 header" if row["headers"] == 1 else f"{row['headers']} headers"
    names = ", ".join(f"…{peer[-4:]}" for peer in row["confirmed_by"]) or "nobody"
    lines = [
        f"network   {printable(row['network'])}  chain {row['chain'][:16]}…",
        f"height    {row['height']}  hash {row['hash']}",
        f"age       {row['age_ms'] / 1000:.1f} s",
        f"model     {row['model_root']}",
        f"verified  from {start} by {headers}; confirmed by {names}",
    ]
    if "account" in row:
        account = row["account"]
        named = "  ".join(f"{name} {value}" for name, value in list(account.items())[2:])
        lines.append(f"account   {account['key'][:16]}…  {named if account['is_there'] else 'there is none'}")
    if "update" in row:
        update = row["update"]
        lines.append(f"update    {update['id'][:16]}…  {update['reason'] or 'counted'}")
    if "model" in row:
        lines.append(f"written   {row['model']}")
    return lines


def _note(text: str) -> None:
    click.echo(f"note: {printable(text)}", err=True)


class _Steps:
    """A bar for whatever goes on: it starts anew when the whole changes."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._whole = 0

    def __enter__(self) -> _Steps:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)

    def __call__(self, done: int, whole: int) -> None:
        if self._bar is None or whole != self._whole:
            self.__exit__()
            self._bar, self._whole = Progress("light", whole), whole
            self._bar.__enter__()
        self._bar.step_to(done)
