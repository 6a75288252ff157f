"""The bytes of an update: little-endian int16, one for each coordinate of the model."""

from __future__ import annotations

import numpy as np

from p2pfed.errors import OutOfBounds
from p2pfed.types.model import Int16Vector, Manifest
from p2pfed.types.params import COORDINATE_MAX

ELEMENT_BYTES = 2


def encode_payload(update: Int16Vector) -> bytes:
    """Return the payload of an update."""
    return update.astype("<i2", copy=False).tobytes()


def decode_payload(data: bytes | memoryview, manifest: Manifest) -> Int16Vector:
    """Return the update in `data`, shape `(d,)`; read-only, and a view of `data` on a little-endian machine.

    This is the whole static validity of an update (docs/spec/consensus.md section 19). It needs no norm cap:
    within the range, a group's sum of squares stays below 2^52.

    Raises:
        OutOfBounds: Another length than that of the manifest, or an element of -32768.
    """
    expected = ELEMENT_BYTES * manifest.size
    if len(data) != expected:
        raise OutOfBounds(f"a payload of {len(data)} bytes; this model needs {expected}")
    update = np.frombuffer(data, "<i2").astype(np.int16, copy=False)
    if update.size and int(update.min()) < -COORDINATE_MAX:
        raise OutOfBounds(f"element {int(update.argmin())} of an update is below {-COORDINATE_MAX}")
    update.setflags(write=False)
    return update
