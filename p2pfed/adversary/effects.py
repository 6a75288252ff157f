"""What a liar asks for beyond a node's effects: a payload made by hand, bytes that are no message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from p2pfed.types.model import Int16Vector

# (own honest update, the other payloads held) -> the bytes to publish instead.
CraftPayload = Callable[[Int16Vector, Sequence[Int16Vector]], bytes]


@dataclass(frozen=True, slots=True)
class Craft:
    """Make a payload out of the own honest one and others held; answered by Trained, for the liar's node."""

    base_height: int
    examples: int
    own_root: bytes
    other_roots: tuple[bytes, ...]
    craft: CraftPayload


@dataclass(frozen=True, slots=True)
class SendBytes:
    """Send these bytes as a control message to each of `peers`, whatever they are."""

    peers: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Boast:
    """Say in the liar's own log what it did, so that a trial can tell that it was active."""

    kind: str
    height: int
    detail: str


AdversaryEffect = Craft | SendBytes | Boast
