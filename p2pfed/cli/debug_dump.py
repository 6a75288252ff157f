"""`p2pfed debug dump`: what a peer remembers of the height under way, for people and for bug reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from p2pfed.cli.options import home_option, json_option
from p2pfed.cli.reading import open_chain
from p2pfed.cli.text import printable
from p2pfed.consensus.journal_text import STEPS, describe, place_of, short
from p2pfed.consensus.signer import SignRecord
from p2pfed.errors import LocalError, StorageFault
from p2pfed.runtime.peer import load_record, read_genesis
from p2pfed.storage.home import Home
from p2pfed.storage.log import survey
from p2pfed.storage.log_files import FolderFiles


@click.command()
@home_option
@json_option
@click.option("--entries", type=click.IntRange(0), default=20, show_default=True, help="Newest of the log.")
@click.option("--last", type=click.IntRange(0), default=3, show_default=True, help="How many newest blocks.")
def dump(home: Home, as_json: bool, entries: int, last: int) -> None:
    """Show vote state, write-ahead log, newest blocks and sizes of a home; changes nothing, tells no secret.

    It works beside a running peer; the newest entries of the log may then still be in its memory.
    """
    chain_id = read_genesis(home).chain_id
    row: dict[str, Any] = {
        "schema": "p2pfed.dump/1",
        "chain": chain_id.hex(),
        "is_running": home.is_locked(),
        **_chain_of(home, last),
        "vote_state": _vote_state_of(home),
        "log": _log_of(home, chain_id, entries),
        "bytes": {path.name: _bytes_of(path) for path in (home.chain_db, home.blobs, home.wal, home.logs)},
    }
    if as_json:
        click.echo(json.dumps(row))
        return
    state, log = row["vote_state"], row["log"]
    click.echo(f"chain       {row['chain']}")
    click.echo(f"runs        {'yes' if row['is_running'] else 'no'}")
    click.echo(f"height      {row['height']}")
    for block in row["blocks"]:
        click.echo(f"block       {block['height']} {block['hash'][:12]}… round {block['round']}")
    click.echo(f"vote state  {printable(state['problem'] or state['place'])}")
    if not state["problem"]:
        click.echo(f"lock        {state['lock'] or 'none'}")
        click.echo(f"avail       {_or_none('height', state['avail'])}")
        click.echo(f"update      {_or_none('base height', state['update'])}")
    click.echo(f"log         {log['entries']} entries in {log['files']} files, {log['bytes']} bytes")
    if log["problem"]:
        click.echo(f"            {printable(log['problem'])}")
    if log["torn_bytes"]:
        click.echo(f"            the last {log['torn_bytes']} bytes are no whole entry")
    for entry in log["newest"]:
        click.echo(f"  {entry['seq']:>8}  {printable(entry['text'])}")
    for name, size in row["bytes"].items():
        click.echo(f"{name:<11} {size} bytes")


def _chain_of(home: Home, last: int) -> dict[str, Any]:
    try:
        with open_chain(home) as chain:
            tip = chain.height
            found = [chain.certified(height) for height in range(max(1, tip - last + 1), tip + 1)]
    except LocalError:
        return {"height": 0, "blocks": []}
    blocks = [
        {"height": header.height, "hash": header.value_id.hex(), "round": commit.round}
        for header, commit in (pair for pair in found if pair is not None)
    ]
    return {"height": tip, "blocks": blocks}


def _vote_state_of(home: Home) -> dict[str, Any]:
    """Return what the signer remembers. Everything in it was sent to others, but for its latest word."""
    try:
        record = load_record(home, 1, new_signer=False)
    except (LocalError, StorageFault) as error:
        return {"problem": str(error), "place": "", "height": 0, "round": -1, "step": "nothing", "lock": "",
                "avail": None, "update": None}  # fmt: skip
    return {
        "problem": "",
        "place": place_of(record),
        "height": record.height,
        "round": record.round,
        "step": STEPS[record.step],
        "lock": _lock_of(record),
        "avail": None if record.avail is None else record.avail.avail.height,
        "update": None if record.trainer is None else record.trainer.base_height,
    }


def _lock_of(record: SignRecord) -> str:
    cert = record.lock_cert
    return "" if cert is None else f"{short(cert.value_id)} in round {record.lock_round}"


def _log_of(home: Home, chain_id: bytes, newest: int) -> dict[str, Any]:
    files = FolderFiles(home.wal)
    row: dict[str, Any] = {"files": 0, "bytes": 0, "entries": 0, "torn_bytes": 0, "problem": "", "newest": []}
    try:
        found = survey(files, chain_id)
        row |= {
            "files": len(found.files),
            "bytes": sum(file.bytes for file in found.files),
            "torn_bytes": found.torn_bytes,
            "problem": found.damage,
        }
        entries = found.entries()
        row["entries"] = len(entries)
        shown = entries[-newest:] if newest else []
        row["newest"] = [{"seq": seq, "text": describe(entry)} for seq, entry in shown]
    except (LocalError, StorageFault) as error:
        row["problem"] = str(error)
    return row


def _or_none(what: str, height: int | None) -> str:
    return "none" if height is None else f"{what} {height}"


def _bytes_of(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(found.stat().st_size for found in path.rglob("*") if found.is_file())
