"""`p2pfed debug`: look into a home when something is wrong."""

from __future__ import annotations

import click

from p2pfed.cli.lazy import Lazy, LazyGroup

COMMANDS: Lazy = {
    "dump": ("p2pfed.cli.debug_dump", "dump", "Show vote state, log, newest blocks and sizes; no secrets."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
def debug() -> None:
    """Look into a home; nothing is changed."""
