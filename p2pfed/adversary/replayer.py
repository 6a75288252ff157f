"""A liar that says again what was said long ago, by itself and by others."""

from __future__ import annotations

from collections import deque

from p2pfed.adversary.base import Effects, Means
from p2pfed.adversary.rewriter import Rewriter
from p2pfed.node import events
from p2pfed.node.effects import Send
from p2pfed.node.events import Event
from p2pfed.types.wire import ControlMessage, Digest, PeerRecords

MEMORY_MAX = 512
AT_ONCE = 8


class Replayer(Rewriter):
    """Keeps what it hears and says, and sends pieces of it to everybody at every vote and tick."""

    kind = "replayer"

    def __init__(self, means: Means) -> None:
        super().__init__(means)
        self._memory: deque[ControlMessage] = deque(maxlen=MEMORY_MAX)
        self._turn = 0

    def step(self, event: Event, now_ms: int) -> Effects:
        if isinstance(event, events.MessageReceived):
            self._remember(event.message)
        effects = super().step(event, now_ms)
        is_due = isinstance(event, events.TimerFired) and event.timer.kind == "gossip"
        return (*effects, *self._again()) if is_due and self._memory else effects

    def rewrite(self, effect: Send, now_ms: int) -> Effects:  # noqa: ARG002
        self._remember(effect.message)
        return (effect,)

    def _remember(self, message: ControlMessage) -> None:
        if not isinstance(message, Digest | PeerRecords):
            self._memory.append(message)

    def _again(self) -> Effects:
        peers, said = self.others(), []
        for _ in range(AT_ONCE):
            self._turn += 7  # Steps through the memory in an order of its own.
            said.append(Send(peers, self._memory[self._turn % len(self._memory)]))
        return self.boast(self.node.state.next_height, f"said {AT_ONCE} old messages again"), *said
