"""Virtual time: what is due when. Nothing waits for real."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable

Action = Callable[[], None]


class Agenda:
    """Actions in the order of time, those of one millisecond in the order of their entry.

    A millisecond of a large network holds hundreds of actions, so the heap orders milliseconds alone.
    """

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self._times: list[int] = []
        self._due: dict[int, deque[Action]] = {}

    def after(self, delay_ms: int, action: Action) -> None:
        """Do something `delay_ms` from now, after what is due then already."""
        assert delay_ms >= 0
        due_ms = self.now_ms + delay_ms
        actions = self._due.get(due_ms)
        if actions is None:
            actions = self._due[due_ms] = deque()
            heapq.heappush(self._times, due_ms)
        actions.append(action)

    def pop(self, until_ms: int | None = None) -> Action | None:
        """Go on to what comes next and return it; None: nothing is left, or nothing by `until_ms`."""
        while self._times and (until_ms is None or self._times[0] <= until_ms):
            self.now_ms = self._times[0]
            actions = self._due[self.now_ms]
            if actions:
                return actions.popleft()
            del self._due[heapq.heappop(self._times)]
        return None
