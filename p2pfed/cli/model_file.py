"""An agreed model as a file that numpy or safetensors can read, and beside it what proves it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from p2pfed.privacy.mechanism import model_view
from p2pfed.storage.files import disk_errors, replace_file
from p2pfed.types.block import Header
from p2pfed.types.certificate import CommitCert
from p2pfed.types.genesis import Genesis
from p2pfed.types.model import Float32Vector, ModelState

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def write_model(
    output: Path,
    form: str,
    genesis: Genesis,
    model: ModelState,
    height: int,
    certified: tuple[Header, CommitCert] | None,
    told: Callable[[int], None] = lambda _: None,
) -> None:
    """Write `model` to `output` as `npz` or `safetensors`, and its proof to OUTPUT.proof.json.

    Args:
        certified: Header and certificate of `height`; None for the initial model, which genesis names.
        told: Hears how many bytes are written.

    Raises:
        DiskFull, StorageFault: It can't be written.
    """
    with disk_errors(f"write {output}"):
        output.parent.mkdir(parents=True, exist_ok=True)
    _write_arrays(output, form, genesis, model_view(model, genesis.manifest.groups), told)
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


class _Counted(io.BufferedWriter):
    """A file that tells how far it is written."""

    def __init__(self, path: Path, told: Callable[[int], None]) -> None:
        super().__init__(io.FileIO(path, "wb"))
        self._told, self._most = told, 0

    def write(self, data: ReadableBuffer) -> int:
        written = super().write(data)
        self._most = max(self._most, self.tell())  # An archive goes back to finish its headers.
        self._told(self._most)
        return written


def _write_arrays(
    output: Path, form: str, genesis: Genesis, view: Float32Vector, told: Callable[[int], None]
) -> None:
    from p2pfed.learning.delta import named  # A light client proves models and loads no learner.

    tensors = named(view, genesis.manifest)
    temporary = output.with_name(output.name + ".part")
    with disk_errors(f"write {output}"), _Counted(temporary, told) as file:
        if form == "npz":
            np.savez(file, **tensors)  # type: ignore[arg-type]
        else:
            file.write(_safetensors_header(tensors))
            for values in tensors.values():
                file.write(np.ascontiguousarray(values, "<f4").data)
    with disk_errors(f"write {output}"):
        temporary.replace(output)


def _safetensors_header(tensors: dict[str, Float32Vector]) -> bytes:
    """Return what stands before the bytes of float32 arrays, in order: its length, and JSON."""
    header: dict[str, object] = {}
    offset = 0
    for name, values in tensors.items():
        end = offset + values.nbytes
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
