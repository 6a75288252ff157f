"""The honest node inside every liar: by default everything passes through unchanged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from msgspec import Struct

from p2pfed.adversary.effects import AdversaryEffect, Boast, Craft
from p2pfed.consensus.signer import SignRequest
from p2pfed.node import events
from p2pfed.node.effects import Effect
from p2pfed.node.events import Event
from p2pfed.node.node import Node
from p2pfed.primitives.keys import PrivateKey
from p2pfed.types.model import Int16Vector

Effects = tuple[Effect | AdversaryEffect, ...]


class Means(Struct, frozen=True):
    """What a liar has: an honest node, its key, dice, friends, and the settings of its kind."""

    node: Node
    key: PrivateKey
    seed: int
    colluders: tuple[bytes, ...]
    settings: Mapping[str, float]


class Adversary:
    """A peer that lies in one way. Subclasses change what goes in or what comes out."""

    kind = ""

    def __init__(self, means: Means) -> None:
        self.node = means.node
        self.key = means.key
        self.seed = means.seed
        self.colluders = means.colluders
        self.settings = means.settings

    def step(self, event: Event, now_ms: int) -> Effects:
        """Return what the liar does about `event`."""
        return self.node.step(event, now_ms)

    def withholds(self, root: bytes) -> bool:  # noqa: ARG002 - an honest peer serves all it has
        """Answer whether the chunks of this blob are never served."""
        return False

    def shown(self, data: bytes) -> bytes:
        """Return what it sends for a chunk with these bytes; an honest peer sends them as they are."""
        return data

    def bend_signing(self, change: Callable[[SignRequest], SignRequest]) -> None:
        """Let the node inside sign something else than it wants to, by the rules, and believe that it did.

        A message that is changed only on its way out would contradict the certificates that the node makes.
        """
        hand, sign = self.node.hand, self.node.hand.sign
        hand.sign = lambda request: sign(change(request))  # type: ignore[method-assign]

    @property
    def own_index(self) -> int | None:
        return self.node.state.validators.index_of(self.key.public)

    def dice(self, height: int) -> np.random.Generator:
        """Return dice that repeat for this liar and height."""
        return np.random.default_rng([self.seed, height, int.from_bytes(self.key.public[1:9], "big")])

    def boast(self, height: int, detail: str) -> Boast:
        return Boast(self.kind, height, detail)


class PayloadLiar(Adversary):
    """A liar that trains honestly, keeps that update back, and publishes another payload in its place."""

    detail = "published another update than it trained"

    def __init__(self, means: Means) -> None:
        super().__init__(means)
        self._crafting: int | None = None  # The base height whose honest update was kept back.

    def step(self, event: Event, now_ms: int) -> Effects:
        if not isinstance(event, events.Trained) or event.base_height != self.node.state.height:
            return super().step(event, now_ms)
        if self._crafting == event.base_height:
            height = event.base_height + 1
            return (
                self.boast(height, self.detail),
                *self.publish(event, now_ms),
            )
        self._crafting = event.base_height
        return (self.craft_from(event, ()),)

    def publish(self, event: events.Trained, now_ms: int) -> Effects:
        """Return how the crafted payload is announced; by default as an honest one would be."""
        return self.node.step(event, now_ms)

    def craft_from(self, event: events.Trained, other_roots: tuple[bytes, ...]) -> Craft:
        """Return the request to make this height's payload."""
        height = event.base_height + 1

        def craft(own: Int16Vector, _others: Sequence[Int16Vector]) -> bytes:
            return self.payload(height, own)

        return Craft(event.base_height, event.examples, event.payload_root, other_roots, craft)

    def payload(self, height: int, own: Int16Vector) -> bytes:
        """Return the bytes to publish; `own` is the honest update, int16, shape `(d,)`."""
        raise NotImplementedError
