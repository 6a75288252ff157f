"""`p2pfed repair`: cut a damaged write-ahead log; the peer then goes on from its vote state."""

from __future__ import annotations

import json

import click

from p2pfed.cli.options import home_option, json_option
from p2pfed.consensus.journal_text import place_of
from p2pfed.runtime.peer import load_record, read_genesis
from p2pfed.storage.home import Home
from p2pfed.storage.log import repair as repair_log
from p2pfed.storage.log_files import FolderFiles


@click.command()
@home_option
@json_option
@click.option("--forget-log", is_flag=True, help="Drop the whole log, also where no damage is found.")
def repair(home: Home, as_json: bool, forget_log: bool) -> None:
    """Cut a damaged write-ahead log at its first damage. Nothing else is changed.

    The peer then goes on from vote_state.json, so it can't sign twice; without that file nothing is done.
    """
    genesis = read_genesis(home)
    with home.lock():
        record = load_record(home, 1, new_signer=False)  # Height 1: the file must be there.
        files = FolderFiles(home.wal)
        try:
            entries, lost_bytes = repair_log(files, genesis.chain_id, forget=forget_log)
        finally:
            files.close()
    if as_json:
        row = {
            "schema": "p2pfed.repair/1",
            "entries_lost": entries,
            "bytes_lost": lost_bytes,
            "height": record.height,
            "round": record.round,
            "step": record.step,
        }
        click.echo(json.dumps(row))
    elif not lost_bytes:
        click.echo("the log is whole: nothing was changed")
    else:
        click.echo(
            f"{lost_bytes} bytes of the log are cut, {entries} whole entries among them; "
            f"the peer goes on from its vote state: {place_of(record)}"
        )
