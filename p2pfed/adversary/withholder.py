"""A liar that keeps to itself what others need to go on: certificates, and the bodies of its blocks."""

from __future__ import annotations

import msgspec

from p2pfed.adversary.base import Effects, Means
from p2pfed.adversary.rewriter import Rewriter
from p2pfed.node import events
from p2pfed.node.effects import Send
from p2pfed.node.events import Event
from p2pfed.types.certificate import CommitCert, PolkaCert
from p2pfed.types.wire import ProposalMessage


class Withholder(Rewriter):
    """Sends no certificate, proposes again without the polka, and serves no body that it built."""

    kind = "withholder"

    def __init__(self, means: Means) -> None:
        super().__init__(means)
        self._own_bodies: set[bytes] = set()

    def step(self, event: Event, now_ms: int) -> Effects:
        if isinstance(event, events.ProposalBuilt):
            self._own_bodies.add(event.header.body_hash)
        return super().step(event, now_ms)

    def rewrite(self, effect: Send, now_ms: int) -> Effects:  # noqa: ARG002
        message = effect.message
        if isinstance(message, PolkaCert | CommitCert):
            return (self.boast(message.height, f"kept a {type(message).__name__} to itself"),)
        if isinstance(message, ProposalMessage) and message.polka is not None:
            return (Send(effect.peers, msgspec.structs.replace(message, polka=None)),)
        return (effect,)

    def withholds(self, root: bytes) -> bool:
        return root in self._own_bodies
