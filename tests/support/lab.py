"""One silent node at a table: told events by hand, its effects looked at, the other peers' keys in reach."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from support.chain import GENESIS_TIME_MS, World

from p2pfed.consensus.signer import SignRecord, initial_record
from p2pfed.node import events
from p2pfed.node.effects import Effect, Observe, Send
from p2pfed.node.events import Event, Timer
from p2pfed.node.node import Node
from p2pfed.primitives import codec
from p2pfed.primitives.digest import sha256
from p2pfed.primitives.keys import PrivateKey
from p2pfed.types.wire import ControlMessage

E = TypeVar("E")

FOUR = (10, 10, 10, 10)


class Lab:
    """The node of participant `own` in a world whose state it starts from; `effects` is all it asked for."""

    def __init__(
        self,
        own: int = 0,
        bonds: Sequence[int] = FOUR,
        world: World | None = None,
        record: SignRecord | None = None,
        key: PrivateKey | None = None,
        **options: Any,
    ) -> None:
        self.world = world or World(bonds)
        self.key = key or self.world.keys[self.world.publics[own]]
        self.now_ms = max(self.world.state.time_ms, GENESIS_TIME_MS) + 1_000
        self.effects: list[Effect] = []
        self.node = Node(
            key=self.key,
            state=options.pop("state", self.world.state),
            last_commit=self.world.last_commit,
            record=record or msgspec.structs.replace(initial_record(), height=self.world.state.height),
            **options,
        )

    @property
    def others(self) -> list[bytes]:
        return [public for public in self.world.publics if public != self.key.public]

    def step(self, event: Event) -> list[Effect]:
        effects = list(self.node.step(event, self.now_ms))
        self.effects += effects
        return effects

    def start(self, connected: int = 3) -> list[Effect]:
        """Start and open pipes to so many other members."""
        effects = self.step(events.Started())
        for peer in self.others[:connected]:
            effects += self.step(events.PeerConnected(peer, None))
        return effects

    def hear(self, message: ControlMessage, peer: bytes | None = None) -> list[Effect]:
        """Receive a message from `peer`, by default the first of the others."""
        data = codec.encode(message)
        return self.step(events.MessageReceived(peer or self.others[0], message, len(data), sha256(data)))

    def wait(self, delay_ms: int, timer: Timer | None = None) -> list[Effect]:
        """Let time pass, and fire a timer then."""
        self.now_ms += delay_ms
        return [] if timer is None else self.step(events.TimerFired(timer))

    def gossip(self) -> list[Effect]:
        return self.wait(500, Timer("gossip", 0, 0))

    def all_of(self, kind: type[E]) -> list[E]:
        """Return the effects of one kind so far."""
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def facts(self, kind: type[E]) -> list[E]:
        return [effect.fact for effect in self.all_of(Observe) if isinstance(effect.fact, kind)]

    def sent(self, kind: type[E]) -> list[E]:
        """Return the messages of one kind so far, once for each Send."""
        return [effect.message for effect in self.all_of(Send) if isinstance(effect.message, kind)]


def sent_by(effects: Sequence[Effect], kind: type[E]) -> list[E]:
    """Return the messages of one kind among these effects."""
    return [
        effect.message for effect in effects if isinstance(effect, Send) and isinstance(effect.message, kind)
    ]
