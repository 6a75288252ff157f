"""What a liar asks for beyond a node's effects: a payload made by hand, bytes that are no message."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from p2pfed.types.model import Int16Vector

# (own honest update, the other payloads held) -> the bytes to publish instead.
CraftPayload = Callable[[Int16Vector, Sequence[Int16Vector]], bytes]


class Craft(Struct, frozen=True):
    """Make a payload out of the own honest one and others held; answered by Trained, for the liar's node."""

    base_height: int
    examples: int
    own_root: bytes
    other_roots: tuple[bytes, ...]
    craft: CraftPayload


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
