"""Between a learner's list of arrays and the one flat vector that peers agree on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import numpy as np

from p2pfed.learning.learner import Array, LearnerError
from p2pfed.types.model import ArraySpec, Float32Vector, Manifest
from p2pfed.types.params import ARRAYS_MAX

DType = Literal["float32", "float64", "float16", "int64", "int32"]
_FLOATS = ("float16", "float32", "float64")
_INTEGERS = ("int32", "int64")


def describe(arrays: Sequence[Array]) -> Manifest:
    """Return the manifest of `arrays`: floats are trained, integers stay local, names count from `array0`.

    Raises:
        LearnerError: No arrays, too many, an empty one, or a dtype that no model vector can hold.
    """
    if not 1 <= len(arrays) <= ARRAYS_MAX:
        raise LearnerError(f"weights() returned {len(arrays)} arrays; 1 to {ARRAYS_MAX} are allowed")
    specs = []
    for position, array in enumerate(arrays):
        name, dtype = f"array{position}", str(array.dtype)
        if dtype not in _FLOATS + _INTEGERS:
            raise LearnerError(f"weights()[{position}] is {dtype}; use {', '.join(_FLOATS + _INTEGERS)}")
        if array.size == 0:
            raise LearnerError(f"weights()[{position}] is empty, shape {array.shape}")
        kind: Literal["trained", "local"] = "trained" if dtype in _FLOATS else "local"
        specs.append(ArraySpec(name, array.shape, cast(DType, dtype), kind, False))
    return Manifest(tuple(specs))


def verify_arrays(arrays: Sequence[Array], manifest: Manifest) -> None:
    """Raise LearnerError unless `arrays` have the count, shapes and kinds of number of the manifest."""
    if len(arrays) != len(manifest.arrays):
        raise LearnerError(f"{len(arrays)} arrays came back; the model has {len(manifest.arrays)}")
    for array, spec in zip(arrays, manifest.arrays, strict=True):
        allowed = _INTEGERS if spec.dtype in _INTEGERS else _FLOATS
        if array.shape != spec.shape:
            raise LearnerError(f"{spec.name} came back with shape {array.shape}; the model has {spec.shape}")
        if str(array.dtype) not in allowed:
            raise LearnerError(f"{spec.name} came back as {array.dtype}; the model has {spec.dtype}")


def misfit(own: Manifest, agreed: Manifest) -> str:
    """Return one clause on how a learner's arrays differ from those of genesis, "" where they are the same.

    Names may differ, as they do between versions of a library; shapes and kinds of number may not.
    """
    ours, theirs = ([spec for spec in manifest.arrays if spec.kind != "local"] for manifest in (own, agreed))
    if len(ours) != len(theirs):
        return f"this learner has {len(ours)} arrays, genesis {len(theirs)}"
    for mine, wanted in zip(ours, theirs, strict=True):
        if (mine.shape, mine.dtype) != (wanted.shape, wanted.dtype):
            return (
                f"this learner's {mine.name} is {mine.dtype} of shape {mine.shape}, genesis has "
                f"{wanted.name}, {wanted.dtype} of shape {wanted.shape}"
            )
    return ""


def flatten(arrays: Sequence[Array], manifest: Manifest) -> Float32Vector:
    """Return the shared arrays as one float32 vector of shape `(manifest.size,)`, in manifest order.

    Raises:
        LearnerError: The arrays don't fit the manifest, or one holds NaN or infinity.
    """
    return difference(arrays, None, manifest)


def difference(arrays: Sequence[Array], view: Float32Vector | None, manifest: Manifest) -> Float32Vector:
    """Return `arrays - view` as float32, shape `(manifest.size,)`; a `view` of None is all zeros.

    The subtraction is done in the wider of float32 and the array's own dtype, so a float64 learner's small
    steps survive.

    Raises:
        LearnerError: The arrays don't fit the manifest, or a difference is NaN or infinite in float32.
    """
    verify_arrays(arrays, manifest)
    flat = np.empty(manifest.size, np.float32)
    start = 0
    for array, spec in zip(arrays, manifest.arrays, strict=True):
        piece = slice(start, start + spec.elements)
        start = piece.stop
        if spec.kind == "local":
            continue
        wide = array.reshape(-1).astype(np.promote_types(array.dtype, np.float32), copy=False)
        with np.errstate(over="ignore", invalid="ignore"):
            flat[piece] = wide if view is None else wide - view[piece]
        if not np.isfinite(flat[piece]).all():
            raise LearnerError(f"{spec.name} holds NaN or infinity")
    return flat


def named(view: Float32Vector, manifest: Manifest) -> dict[str, Array]:
    """Return the shared arrays in `view`, float32 of shape `(manifest.size,)`, by name; no copies."""
    arrays: dict[str, Array] = {}
    start = 0
    for spec in manifest.arrays:
        if spec.kind != "local":
            arrays[spec.name] = view[start : start + spec.elements].reshape(spec.shape)
        start += spec.elements
    return arrays


def unflatten(view: Float32Vector, manifest: Manifest, local: Sequence[Array]) -> list[Array]:
    """Return the arrays that a learner sees: copies of `view`, and of `local` where an array is never shared.

    Half-precision arrays are handed over as float32: the master copy that small steps need.

    Args:
        view: The agreed model, float32, shape `(manifest.size,)`.
        local: The peer's own arrays, one for each array of the manifest; only those of kind `local` are read.
    """
    assert view.shape == (manifest.size,)
    assert len(local) == len(manifest.arrays)
    arrays: list[Array] = []
    start = 0
    for own, spec in zip(local, manifest.arrays, strict=True):
        stop = start + spec.elements
        if spec.kind == "local":
            arrays.append(own.copy())
        else:
            dtype = np.float64 if spec.dtype == "float64" else np.float32
            arrays.append(view[start:stop].astype(dtype).reshape(spec.shape))
        start = stop
    return arrays
