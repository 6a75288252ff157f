"""`p2pfed lab`: the Byzantine laboratory."""

from __future__ import annotations

import click

from p2pfed.cli.lazy import Lazy, LazyGroup

COMMANDS: Lazy = {
    "run": ("p2pfed.cli.lab_run", "run", "Run a named network of whole peers, with faults, from a seed."),
    "network": ("p2pfed.cli.lab_network", "network", "Draw a network from a seed, as a file for `lab run`."),
    "matrix": ("p2pfed.cli.lab_matrix", "matrix", "Train rules against attacks and draw the heat map."),
    "report": ("p2pfed.cli.lab_matrix", "report", "Draw a matrix again, finished or not."),
    "list": ("p2pfed.cli.lab_list", "list_", "List scenarios, attacks and rules."),
    "sim": ("p2pfed.cli.lab_sim", "sim", "Run thousands of bad schedules of the agreement protocol."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
def lab() -> None:
    """Try rules, agreement and whole networks against liars, on this machine alone."""
