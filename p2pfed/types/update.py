"""A trainer's signed update: a header on the control plane, a payload of int16 on the bulk plane."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, get_args

import msgspec

from p2pfed.primitives.digest import tagged
from p2pfed.types.message import Digest32, Height, PublicKey, Signature, SignedMessage
from p2pfed.types.params import MODEL_ELEMENTS_MAX

CodecName = Literal["int16", "int8", "int4", "rand_k", "top_k", "sign"]
CODECS: tuple[CodecName, ...] = get_args(CodecName)  # A header names a codec by its place.
CODEC_INT16 = 0
EXAMPLES_MAX = 1 << 40


class UpdateHeader(SignedMessage, frozen=True, array_like=True, forbid_unknown_fields=True, tag=1):
    """What a trainer signs. `examples` is claimed, never trusted: only the mean family weighs by it.

    The payload is `payload_bytes` bytes in the form of `codec`, with RFC 6962 root `payload_root`.
    """

    KIND: ClassVar[str] = "update"

    trainer: PublicKey
    base_height: Height
    base_model_root: Digest32
    payload_bytes: Annotated[int, msgspec.Meta(ge=0, le=2 * MODEL_ELEMENTS_MAX)]
    payload_root: Digest32
    codec: Annotated[int, msgspec.Meta(ge=0, le=255)]
    examples: Annotated[int, msgspec.Meta(ge=1, le=EXAMPLES_MAX)]
    signature: Signature

    @property
    def update_id(self) -> bytes:
        """The update's name: H("upd", body)."""
        return tagged("upd", self.body())
