"""The peer's time: milliseconds since 1970 that never run backwards."""

from __future__ import annotations

import time


class Clock:
    """Wall time at the start, monotonic time after it: a clock that is set back can't confuse a height."""

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - time.monotonic_ns()

    def now_ms(self) -> int:
        return (time.monotonic_ns() + self._offset_ns) // 1_000_000
