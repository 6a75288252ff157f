"""The bytes of an update, in the form that genesis chose, and what makes such bytes valid."""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from p2pfed.aggregation import packing, sparse
from p2pfed.errors import OutOfBounds
from p2pfed.types.model import Int16Vector, Manifest
from p2pfed.types.params import COORDINATE_MAX
from p2pfed.types.update import CODECS, CodecName

ELEMENT_BYTES = 2
PACKINGS = {"int8": packing.INT8, "int4": packing.INT4, "sign": packing.SIGN}
SPARSE = ("rand_k", "top_k")  # One coordinate in so many is sent.
WITH_FEEDBACK = ("rand_k", "top_k", "sign")  # What was not sent is added to the next update.
OF_OWN_CHOICE = ("top_k", "sign")  # Each trainer's own, so they can't be compared coordinate by coordinate.


class PayloadForm(Struct, frozen=True):
    """How the updates of a network are spelled.

    manifest: The arrays of its model.
    codec: One of `types.update.CODECS`.
    one_in: Of so many coordinates one is sent; 1 for codecs that send all.
    """

    manifest: Manifest
    codec: CodecName = "int16"
    one_in: int = 1

    @property
    def number(self) -> int:
        """The codec as headers name it."""
        return CODECS.index(self.codec)

    @property
    def has_feedback(self) -> bool:
        """Answer whether a trainer adds what it could not send to its next update."""
        return self.codec in WITH_FEEDBACK

    @property
    def length(self) -> int:
        """The length of every payload."""
        if self.codec in PACKINGS:
            return packing.packed_bytes(PACKINGS[self.codec], self.manifest)
        if self.codec == "rand_k":
            return ELEMENT_BYTES * sparse.drawn_count(self.manifest, self.one_in)
        if self.codec == "top_k":
            return (
                2 * ELEMENT_BYTES * sum(block[2] for block in sparse.top_blocks(self.manifest, self.one_in))
            )
        return ELEMENT_BYTES * self.manifest.size

    def encode(self, update: Int16Vector, seed: bytes) -> bytes:
        """Return the payload nearest to `update`, int16 of shape `(d,)`, within +-COORDINATE_MAX.

        Args:
            update: In units of each group's exponent.
            seed: The seed of the state that was trained from: it draws the coordinates of `rand_k`.
        """
        if self.codec in PACKINGS:
            return packing.pack(PACKINGS[self.codec], update, self.manifest)
        if self.codec == "rand_k":
            return encode_payload(update[sparse.drawn(self.manifest, self.one_in, seed)])
        if self.codec == "top_k":
            return sparse.pack_top(update, self.manifest, self.one_in)
        return encode_payload(update)

    def decode(self, data: bytes | memoryview, seed: bytes) -> Int16Vector:
        """Return the update in `data`, shape `(d,)`; coordinates that were not sent are 0.

        Raises:
            OutOfBounds: As `verify`.
        """
        if self.codec == "int16":
            return decode_payload(data, self.manifest)
        self.verify(data)
        if self.codec in PACKINGS:
            update = packing.unpack(PACKINGS[self.codec], data, self.manifest)
        elif self.codec == "top_k":
            update = sparse.unpack_top(data, self.manifest, self.one_in)
        else:
            update = np.zeros(self.manifest.size, np.int16)
            update[sparse.drawn(self.manifest, self.one_in, seed)] = np.frombuffer(data, "<i2")
        update.setflags(write=False)
        return update

    def verify(self, data: bytes | memoryview) -> None:
        """Check a payload: the whole static validity of an update (docs/spec/numerics.md N13).

        Raises:
            OutOfBounds: Another length than that of every payload, or a byte that none has at its place.
        """
        if len(data) != self.length:
            raise OutOfBounds(f"a payload of {len(data)} bytes; this model needs {self.length}")
        broken = self.broken_at(data)
        if broken is None:
            return
        if self.codec == "int16":
            raise OutOfBounds(f"element {broken // ELEMENT_BYTES} of an update is below {-COORDINATE_MAX}")
        raise OutOfBounds(f"byte {broken} of an update is none that {self.codec} has there")

    def broken_at(self, piece: bytes | memoryview, offset: int = 0) -> int | None:
        """Return the place of the first byte or word that no payload has there; None where all may be.

        Args:
            piece: Consecutive bytes of a payload, all that is known of it.
            offset: Where they begin in it; even.
        """
        if self.codec in PACKINGS:
            found = packing.broken_bytes(
                PACKINGS[self.codec], np.frombuffer(piece, np.uint8), offset, self.manifest
            )
            width = 1
        elif self.codec == "top_k":
            words = np.frombuffer(piece, "<u2")
            found = sparse.broken_words(words, offset // ELEMENT_BYTES, self.manifest, self.one_in)
            width = ELEMENT_BYTES
        else:
            values = np.frombuffer(piece, "<i2")
            if not values.size or int(values.min()) >= -COORDINATE_MAX:
                return None
            found, width = values < -COORDINATE_MAX, ELEMENT_BYTES
        places = np.flatnonzero(found)
        return offset + width * int(places[0]) if places.size else None


def encode_payload(update: Int16Vector) -> bytes:
    """Return little-endian int16: the payload of an update whose coordinates are all sent whole."""
    return update.astype("<i2", copy=False).tobytes()


def decode_payload(data: bytes | memoryview, manifest: Manifest) -> Int16Vector:
    """Return the update in a payload of codec int16; read-only, on a little-endian machine a view of `data`.

    It needs no norm cap: within the range, a group's sum of squares stays below 2^52.

    Raises:
        OutOfBounds: Another length than that of the manifest, or an element of -32768.
    """
    PayloadForm(manifest).verify(data)
    update = np.frombuffer(data, "<i2").astype(np.int16, copy=False)
    update.setflags(write=False)
    return update
