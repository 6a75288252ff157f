"""What a peer without history starts from: a final block and the content-addressed parts of its state."""

from __future__ import annotations

from typing import Annotated

import msgspec

from p2pfed.types.light import LightBlock
from p2pfed.types.message import Digest32, Message
from p2pfed.types.params import PART_BYTES_MAX, PART_NAME_MAX, PARTS_MAX

SNAPSHOT_FORMAT = 1
# The parts of format 1, in the order in which they are fetched: small ones first, each is checked alone.
LEDGER, BODY, EXPONENTS, MODEL = "ledger", "body", "exponents", "model"
PARTS = (LEDGER, BODY, EXPONENTS, MODEL)


class Part(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One part of a state: a blob of `length` bytes, served in chunks under its `root`."""

    kind: Annotated[str, msgspec.Meta(min_length=1, max_length=PART_NAME_MAX)]
    length: Annotated[int, msgspec.Meta(ge=1, le=PART_BYTES_MAX)]
    root: Digest32


class Snapshot(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=37):
    """The manifest of a snapshot. Whoever knows another `format` passes it over.

    The block is the proof: its certificate and the two validator sets are what a light client checks. All
    parts but the ledger stand under roots of its header; the ledger is compared with `state_root` when it is
    whole.
    """

    format: Annotated[int, msgspec.Meta(ge=1, le=255)]
    block: LightBlock
    parts: Annotated[tuple[Part, ...], msgspec.Meta(min_length=1, max_length=PARTS_MAX)]

    @property
    def height(self) -> int:
        return self.block.header.height

    @property
    def name(self) -> tuple[bytes, tuple[Part, ...]]:
        """What two peers that have the same snapshot agree on; certificates may have other signers."""
        return self.block.header.value_id, self.parts

    @property
    def size(self) -> int:
        """The length of all parts."""
        return sum(part.length for part in self.parts)

    def part(self, kind: str) -> Part:
        """Return the part of a kind that is known to be there."""
        return next(part for part in self.parts if part.kind == kind)
