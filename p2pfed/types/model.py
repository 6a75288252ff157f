"""What a model is: a manifest of arrays, cut into groups that the rules run on."""

from __future__ import annotations

from functools import cached_property
from math import prod
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from p2pfed.errors import LocalError
from p2pfed.primitives.merkle import chunk_root
from p2pfed.types.message import Message
from p2pfed.types.params import (
    ARRAY_NAME_MAX,
    ARRAY_RANK_MAX,
    ARRAYS_MAX,
    GROUP_ELEMENTS_MAX,
    MODEL_ELEMENTS_MAX,
)

Int16Vector = NDArray[np.int16]
Int32Vector = NDArray[np.int32]
Int8Vector = NDArray[np.int8]
Float32Vector = NDArray[np.float32]

ArrayKind = Literal["trained", "statistic", "local"]


class ArraySpec(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One array of a model. `local` arrays (counters, learner state) are never sent: no elements here."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=ARRAY_NAME_MAX)]
    shape: Annotated[
        tuple[Annotated[int, msgspec.Meta(ge=1, le=MODEL_ELEMENTS_MAX)], ...],
        msgspec.Meta(max_length=ARRAY_RANK_MAX),
    ]
    dtype: Literal["float32", "float64", "float16", "int64", "int32"]
    kind: ArrayKind
    nonnegative: bool

    @property
    def elements(self) -> int:
        """How many coordinates of the shared vector this array fills."""
        return 0 if self.kind == "local" else prod(self.shape)


class Group(Struct, frozen=True):
    """Coordinates `start` to `stop` of the model: one array or a piece of it, with its own exponents."""

    start: int
    stop: int
    kind: ArrayKind
    nonnegative: bool

    @property
    def slice(self) -> slice:
        return slice(self.start, self.stop)

    @property
    def size(self) -> int:
        return self.stop - self.start


class Manifest(Message, frozen=True, array_like=True, forbid_unknown_fields=True, dict=True):
    """The arrays of a model in order; hashed into genesis. Raises nothing: `verify_manifest` checks it."""

    arrays: Annotated[tuple[ArraySpec, ...], msgspec.Meta(min_length=1, max_length=ARRAYS_MAX)]

    @cached_property
    def size(self) -> int:
        """The number of coordinates, `d`."""
        return sum(array.elements for array in self.arrays)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The groups in order: at most 2^22 consecutive elements of one array each."""
        groups: list[Group] = []
        base = 0
        for array in self.arrays:
            end = base + array.elements
            groups.extend(
                Group(start, min(start + GROUP_ELEMENTS_MAX, end), array.kind, array.nonnegative)
                for start in range(base, end, GROUP_ELEMENTS_MAX)
            )
            base = end
        return tuple(groups)


def verify_manifest(manifest: Manifest) -> None:
    """Raise LocalError where names repeat or the model has no or too many coordinates."""
    names = [array.name for array in manifest.arrays]
    if len(set(names)) != len(names):
        raise LocalError("two arrays of the model have the same name")
    if not 0 < manifest.size <= MODEL_ELEMENTS_MAX:
        raise LocalError(f"the model has {manifest.size} elements; 1 to {MODEL_ELEMENTS_MAX} are allowed")


class ModelState(Struct, frozen=True, eq=False, dict=True):
    """The agreed model of a height: integers and the exponents that give them their unit.

    weights: int32, shape `(d,)`, unit 2^-m of the group, |w| < 2^29 after each height.
    update_exponents, model_exponents: int8, shape `(groups,)`; always m - e <= 14.
    past_exponents: The update exponents of the models before, for updates that are older: int8, shape
        `(tau - 1, groups)`, the newest first. As many as updates may be old, so none where tau is 1.
    velocity: Of the outer step, in the units of the weights: int32, shape `(d,)`, or empty without momentum.
    The arrays are read-only.
    """

    weights: Int32Vector
    update_exponents: Int8Vector
    model_exponents: Int8Vector
    past_exponents: Int8Vector = np.empty((0, 0), np.int8)
    velocity: Int32Vector = np.empty(0, np.int32)

    @staticmethod
    def from_bytes(weights: bytes, exponents: bytes, manifest: Manifest) -> ModelState:
        """Return the model of these `weights_bytes` and `exponents_bytes`; roots and lengths are checked."""
        values = np.frombuffer(weights, "<i4").astype(np.int32, copy=False)
        return ModelState.from_arrays(values, exponents, manifest)

    @staticmethod
    def from_arrays(values: Int32Vector, exponents: bytes, manifest: Manifest) -> ModelState:
        """Return the model of weights and velocity, one after the other, and `exponents_bytes`."""
        table = np.frombuffer(exponents, np.int8).reshape(-1, len(manifest.groups))
        return ModelState(values[: manifest.size], table[0], table[1], table[2:], values[manifest.size :])

    def exponents_of(self, age: int) -> Int8Vector:
        """Return the update exponents of the model that was agreed `age` new models ago."""
        return self.update_exponents if age == 0 else self.past_exponents[age - 1]

    @cached_property
    def root(self) -> bytes:
        """RFC 6962 root over the 16 KiB leaves of the little-endian weights, then the velocity."""
        return chunk_root(self.weights_buffer())

    @cached_property
    def exponents_root(self) -> bytes:
        """Root over the bytes of e, then m, then the older e."""
        return chunk_root(self.exponents_bytes())

    def weights_buffer(self) -> memoryview:
        """Return `weights_bytes` without a copy where there is no velocity: a large model's costs as much as
        its hash.
        """
        whole = np.concatenate((self.weights, self.velocity)) if self.velocity.size else self.weights
        return np.ascontiguousarray(whole, "<i4").data.cast("B")

    def weights_bytes(self) -> bytes:
        return bytes(self.weights_buffer())

    def exponents_bytes(self) -> bytes:
        return b"".join(
            part.tobytes() for part in (self.update_exponents, self.model_exponents, self.past_exponents)
        )
