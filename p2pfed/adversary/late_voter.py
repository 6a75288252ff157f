"""A liar that votes and proposes too late."""

from __future__ import annotations

from collections import deque

from p2pfed.adversary.base import Effects, Means
from p2pfed.adversary.rewriter import Rewriter
from p2pfed.node.effects import ScheduleTimeout, Send
from p2pfed.node.events import Event, Timer
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import ProposalMessage

HELD_MAX = 4_096  # Messages kept back; more leave at once.


class LateVoter(Rewriter):
    """Keeps its votes and proposals back for `delay_ms`."""

    kind = "late_voter"

    def __init__(self, means: Means) -> None:
        super().__init__(means)
        self._delay_ms = int(self.settings["delay_ms"])
        self._held: deque[tuple[int, Send]] = deque()

    def step(self, event: Event, now_ms: int) -> Effects:
        effects = super().step(event, now_ms)
        due: list[Send] = []
        while self._held and self._held[0][0] <= now_ms:
            due.append(self._held.popleft()[1])
        return (*effects, *due)

    def rewrite(self, effect: Send, now_ms: int) -> Effects:
        message = effect.message
        is_late = isinstance(message, Prevote | Precommit | ProposalMessage) and self.is_own(message)
        if not is_late or len(self._held) >= HELD_MAX:
            return (effect,)
        self._held.append((now_ms + self._delay_ms, effect))
        height = self.node.state.next_height
        # The timer only wakes the liar: its node ignores one that nobody waits for.
        wake = ScheduleTimeout(Timer("collect", height, 0), self._delay_ms)
        return self.boast(height, f"keeps its {type(message).__name__} for {self._delay_ms} ms"), wake
