"""The base of every message: a frozen array of fields; a signed one ends with its signature."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar

import msgspec

from p2pfed.primitives import codec
from p2pfed.primitives.digest import signing_digest
from p2pfed.primitives.keys import has_valid_signature
from p2pfed.types.params import HEIGHT_MAX, ROUND_MAX

PublicKey = Annotated[bytes, msgspec.Meta(min_length=33, max_length=33)]
Digest32 = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]
Height = Annotated[int, msgspec.Meta(ge=0, le=HEIGHT_MAX)]
Round = Annotated[int, msgspec.Meta(ge=0, le=ROUND_MAX)]
ValidRound = Annotated[int, msgspec.Meta(ge=-1, le=ROUND_MAX)]
Index = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Count = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Amount = Annotated[int, msgspec.Meta(ge=0, le=1 << 60)]
TimeMs = Annotated[int, msgspec.Meta(ge=0, le=HEIGHT_MAX)]


class Message(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A value with one encoding: the msgpack array of its fields."""


class SignedMessage(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A message whose last field is `signature`, over the array of the fields before it."""

    KIND: ClassVar[str] = ""

    def body(self) -> bytes:
        """Return the canonical array of every field but the signature."""
        return codec.encode(msgspec.structs.astuple(self)[:-1])

    def digest(self, chain_id: bytes) -> bytes:
        """Return the 32 bytes that the signature covers."""
        assert self.KIND
        return signing_digest(self.KIND, chain_id, self.body())

    def is_signed_by(self, public: bytes, chain_id: bytes) -> bool:
        """Answer whether `signature` is that of `public` in this network."""
        signature: bytes = msgspec.structs.astuple(self)[-1]
        return has_valid_signature(public, self.digest(chain_id), signature)


# Answers whether the signature of a message is that of (public key) in the network of (chain id).
SignatureCheck = Callable[[SignedMessage, bytes, bytes], bool]
