"""An agreed model as a file that numpy or safetensors can read, and beside it what proves it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from p2pfed.privacy.mechanism import model_view
from p2pfed.storage.files import disk_errors, replace_file
from p2pfed.types.block import Header
from p2pfed.types.certificate import CommitCert
from p2pfed.types.genesis import Genesis
from p2pfed.types.model import Float32Vector, ModelState


def write_model(
    output: Path,
    form: str,
    genesis: Genesis,
    model: ModelState,
    height: int,
    certified: tuple[Header, CommitCert] | None,
) -> None:
    """Write `model` to `output` as `npz` or `safetensors`, and its proof to OUTPUT.proof.json.

    Args:
        certified: Header and certificate of `height`; None for the initial model, which genesis names.

    Raises:
        DiskFull, StorageFault: It can't be written.
    """
    with disk_errors(f"write {output}"):
        output.parent.mkdir(parents=True, exist_ok=True)
    _write_arrays(output, form, genesis, model_view(model, genesis.manifest.groups))
    proof = {
        "schema": "p2pfed.proof/1",
        "chain": genesis.chain_id.hex(),
        "height": height,
        "model_root": model.root.hex(),
        "exponents_root": model.exponents_root.hex(),
        "header_hash": certified[0].value_id.hex() if certified else "",
        "signers": certified[1].bitmap.hex() if certified else "",
        "signatures": [signature.hex() for signature in certified[1].signatures] if certified else [],
    }
    replace_file(output.with_name(output.name + ".proof.json"), json.dumps(proof, indent=2).encode() + b"\n")


def _write_arrays(output: Path, form: str, genesis: Genesis, view: Float32Vector) -> None:
    from p2pfed.learning.delta import named  # A light client proves models and loads no learner.

    tensors = named(view, genesis.manifest)
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
