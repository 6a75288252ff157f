"""`p2pfed version`: what is installed here."""

from __future__ import annotations

import json
import platform
from importlib import metadata

import click

from p2pfed import __version__
from p2pfed.cli.options import json_option

_PARTS = ("numpy", "msgspec", "coincurve", "cryptography", "libp2p", "uvloop")


@click.command()
@json_option
def version(as_json: bool) -> None:
    """Print the version and those of what it stands on."""
    found = {"p2pfed": __version__, "python": platform.python_version()}
    for part in _PARTS:
        try:
            found[part] = metadata.version(part)
        except metadata.PackageNotFoundError:
            found[part] = "not installed"
    if as_json:
        click.echo(json.dumps({"schema": "p2pfed.version/1", **found}))
    else:
        for name, number in found.items():
            click.echo(f"{name:<13} {number}")
