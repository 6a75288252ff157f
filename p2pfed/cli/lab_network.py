"""`p2pfed lab network`: draw a network from a seed, as a file for `lab run`."""

from __future__ import annotations

import click

from p2pfed.sim.generated import generated_network
from p2pfed.sim.scenario import dump_scenario


@click.command()
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="What it is drawn from.")
def network(seed: int) -> None:
    """Print a network for `lab run FILE.toml`, drawn from a seed: real processes can play it too."""
    click.echo(dump_scenario(generated_network(seed)), nl=False)
