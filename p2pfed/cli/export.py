"""`p2pfed export`: an agreed model as a file that numpy or safetensors can read, with its proof."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np

from p2pfed.cli.options import home_option
from p2pfed.errors import LocalError
from p2pfed.privacy.mechanism import model_view
from p2pfed.runtime.peer import read_genesis
from p2pfed.storage import retention
from p2pfed.storage.files import disk_errors, replace_file
from p2pfed.storage.home import Home
from p2pfed.storage.store import Store
from p2pfed.types.genesis import Genesis
from p2pfed.types.model import Float32Vector


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
        tip = store.chain.height
        if height != "latest" and not height.isdigit():
            raise LocalError(f"--height takes a number or `latest`, not {height!r}")
        wanted = tip if height == "latest" else int(height)
        if wanted > tip:
            raise LocalError(f"there is no height {wanted} yet; the last final one is {tip}")
        model = store.load_model(wanted)
        if model is None:
            raise LocalError(f"the model of height {wanted} is pruned; {_nearest(store, wanted, tip)}")
        block = store.chain.block(wanted)
    finally:
        store.close()
    view = model_view(model, genesis.manifest.groups)
    with disk_errors(f"write {output}"):
        output.parent.mkdir(parents=True, exist_ok=True)
    _write(output, form, genesis, view)
    proof = {
        "schema": "p2pfed.proof/1",
        "chain": genesis.chain_id.hex(),
        "height": wanted,
        "model_root": model.root.hex(),
        "exponents_root": model.exponents_root.hex(),
        "header_hash": block.header.value_id.hex() if block else "",
        "signers": block.commit.bitmap.hex() if block else "",
        "signatures": [signature.hex() for signature in block.commit.signatures] if block else [],
    }
    replace_file(output.with_name(output.name + ".proof.json"), json.dumps(proof, indent=2).encode() + b"\n")
    click.echo(f"model of height {wanted}, {genesis.manifest.size} parameters, in {output}", err=True)


def _nearest(store: Store, wanted: int, tip: int) -> str:
    kept = [h for h in range(tip + 1) if retention.keeps_model(h, tip) and store.load_model(h) is not None]
    if not kept:
        return "no model is kept here"
    nearest = min(kept, key=lambda height: abs(height - wanted))
    return f"the nearest one kept is {nearest}"


def _write(output: Path, form: str, genesis: Genesis, view: Float32Vector) -> None:
    tensors: dict[str, Float32Vector] = {}
    start = 0
    for spec in genesis.manifest.arrays:
        if spec.kind != "local":
            tensors[spec.name] = view[start : start + spec.elements].reshape(spec.shape)
        start += spec.elements
    temporary = output.with_name(output.name + ".part")
    with disk_errors(f"write {output}"), temporary.open("wb") as file:
        if form == "npz":
            np.savez(file, **tensors)  # type: ignore[arg-type]
        else:
            file.write(_safetensors(tensors))
    with disk_errors(f"write {output}"):
        temporary.replace(output)


def _safetensors(tensors: dict[str, Float32Vector]) -> bytes:
    """Return the safetensors file of float32 arrays: length, JSON header, then the bytes in order."""
    header: dict[str, object] = {}
    offset = 0
    for name, values in tensors.items():
        end = offset + values.nbytes
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    data = b"".join(values.astype("<f4").tobytes() for values in tensors.values())
    return len(text).to_bytes(8, "little") + text + data
