"""`p2pfed keys`: a peer's key, which is its name, account and signature in one."""

from __future__ import annotations

import json
from pathlib import Path

import click

from p2pfed.cli.options import home_option, json_option
from p2pfed.errors import LocalError
from p2pfed.storage.files import replace_file
from p2pfed.storage.home import Home
from p2pfed.storage.key_store import backup, load_key, new_key, restore, save_key
from p2pfed.types.address import peer_id


@click.group()
def keys() -> None:
    """Make, show, back up and restore a peer's key."""


@keys.command("new")
@home_option
@json_option
def new(home: Home, as_json: bool) -> None:
    """Make a key in the home folder and print its public part, to be listed in `init --members`."""
    home.create()
    save_key(home.key, new_key())
    _print(home, as_json)


@keys.command("show")
@home_option
@json_option
def show(home: Home, as_json: bool) -> None:
    """Print the public key and the peer id; never the secret."""
    _print(home, as_json)


@keys.command("backup")
@home_option
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), required=True)
@click.password_option("--passphrase", prompt="Passphrase (at least 12 characters)")
def backup_key(home: Home, output: Path, passphrase: str) -> None:
    """Seal the key under a passphrase and write it to a file."""
    if output.exists():
        raise LocalError(f"{output} exists already; name a new file")
    replace_file(output, backup(load_key(home.key), passphrase))
    click.echo(f"the key is sealed in {output}; without the passphrase nobody can open it, you neither")


@keys.command("restore")
@home_option
@click.argument("sealed", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--passphrase", prompt=True, hide_input=True)
@json_option
def restore_key(home: Home, sealed: Path, passphrase: str, as_json: bool) -> None:
    """Put a key from a backup into an empty home. Never run one key in two places: its stake is slashed."""
    home.create()
    save_key(home.key, restore(sealed.read_bytes(), passphrase))
    _print(home, as_json)


def _print(home: Home, as_json: bool) -> None:
    public = load_key(home.key).public
    if as_json:
        row = {"schema": "p2pfed.key/1", "public": public.hex(), "id": peer_id(public), "file": str(home.key)}
        click.echo(json.dumps(row))
    else:
        click.echo(public.hex())
        click.echo(f"peer id {peer_id(public)}, secret in {home.key}", err=True)
