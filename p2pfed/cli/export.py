"""`p2pfed export`: an agreed model as a file that numpy or safetensors can read, with its proof."""

from __future__ import annotations

from pathlib import Path

import click

from p2pfed.cli.model_file import write_model
from p2pfed.cli.options import home_option
from p2pfed.cli.progress import Progress
from p2pfed.errors import LocalError
from p2pfed.runtime.model_reading import stored_model
from p2pfed.runtime.peer import read_genesis
from p2pfed.storage.home import Home
from p2pfed.storage.store import Store


@click.command()
@home_option
@click.option("--height", default="latest", show_default=True, help="A number, or `latest`.")
@click.option("--format", "form", type=click.Choice(["npz", "safetensors"]), default="npz", show_default=True)
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), required=True)
def export(home: Home, height: str, form: str, output: Path) -> None:
    """Write the model that was agreed at HEIGHT, and beside it OUTPUT.proof.json: header and certificate."""
    genesis = read_genesis(home)
    store = Store(home, genesis, read_only=True)
    try:
        if height != "latest" and not height.isdigit():
            raise LocalError(f"--height takes a number or `latest`, not {height!r}")
        wanted, model = stored_model(store, None if height == "latest" else int(height))
        block = store.chain.block(wanted)
    finally:
        store.close()
    certified = (block.header, block.commit) if block is not None else None
    with Progress("export", 4 * genesis.manifest.size) as progress:
        write_model(output, form, genesis, model, wanted, certified, progress.step_to)
    click.echo(f"model of height {wanted}, {genesis.manifest.size} parameters, in {output}", err=True)
