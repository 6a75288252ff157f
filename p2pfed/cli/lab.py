"""`p2pfed lab`: experiments that need no network."""

from __future__ import annotations

import click

from p2pfed.cli.lazy import Lazy, LazyGroup

COMMANDS: Lazy = {
    "run": ("p2pfed.cli.lab_run", "run", "Run a named network of whole peers, with faults, from a seed."),
    "list": ("p2pfed.cli.lab_list", "list_", "List scenarios, attacks and rules."),
    "sim": ("p2pfed.cli.lab_sim", "sim", "Run thousands of bad schedules of the agreement protocol."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
def lab() -> None:
    """Try agreement and training in virtual time, on this machine alone."""
