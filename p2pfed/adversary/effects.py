"""What a liar asks for beyond a node's effects: a payload made by hand, bytes that are no message."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from msgspec import Struct

from p2pfed.aggregation.payload import ELEMENT_BYTES, PayloadForm
from p2pfed.types.model import Int16Vector
from p2pfed.types.params import COORDINATE_MAX

# (own honest update, the other payloads held) -> the bytes to publish instead.
CraftPayload = Callable[[Int16Vector, Sequence[Int16Vector]], bytes]


class Craft(Struct, frozen=True):
    """Make a payload out of the own honest one and others held; answered by Trained, for the liar's node.

    `craft` spells whole coordinates; `payload` is what the network's own form makes of them.
    """

    base_height: int
    examples: int
    own_root: bytes
    other_roots: tuple[bytes, ...]
    craft: CraftPayload

    def payload(
        self, own: Int16Vector, others: Sequence[Int16Vector], form: PayloadForm, seed: bytes
    ) -> bytes:
        """Return the bytes to publish; what is no update in whole coordinates stays as it is."""
        data = self.craft(own, others)
        if form.codec == "int16" or len(data) != ELEMENT_BYTES * form.manifest.size:
            return data
        return form.encode(np.maximum(np.frombuffer(data, "<i2").astype(np.int16), -COORDINATE_MAX), seed)


class SendBytes(Struct, frozen=True):
    """Send these bytes as a control message to each of `peers`, whatever they are."""

    peers: tuple[bytes, ...]
    data: bytes


class Boast(Struct, frozen=True):
    """Say in the liar's own log what it did, so that a trial can tell that it was active."""

    kind: str
    height: int
    detail: str


AdversaryEffect = Craft | SendBytes | Boast
