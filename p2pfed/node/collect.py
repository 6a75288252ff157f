"""Rule C1: how long a peer waits for the updates of a height before it votes on what it holds."""

from __future__ import annotations

from collections.abc import Set
from typing import Literal

from msgspec import Struct

from p2pfed.consensus.timeouts import Preset

Reason = Literal["all", "grace", "deadline"]


class Collect(Struct):
    """The waiting of one height.

    The clock runs only while peers of a quorum are connected, so that no height is wasted on peers that
    still start. `expected` are the trainers worth waiting for; `deadline_ms` is T_collect.
    """

    preset: Preset
    expected: frozenset[bytes]
    deadline_ms: int
    started_ms: int | None = None
    _was_silent: bool | None = None  # No header at all by T_collect; decided once.
    _first_payload_ms: int | None = None
    _grace_ends_ms: int | None = None

    def run(self, now_ms: int) -> None:
        """Start the clock: a quorum is connected."""
        if self.started_ms is None:
            self.started_ms = now_ms

    def pause(self) -> None:
        """Stop the clock: the quorum is gone; it starts from zero when it returns."""
        self.started_ms = None
        self._grace_ends_ms = None

    def awaited(self, idle: Set[bytes]) -> frozenset[bytes]:
        """Return whom to wait for: nobody that is idle, as long as those are a third at most."""
        absent = self.expected & idle
        return self.expected - absent if 3 * len(absent) <= len(self.expected) else self.expected

    def check(
        self, now_ms: int, settled: Set[bytes], idle: Set[bytes] = frozenset(), *, has_header: bool
    ) -> Reason | None:
        """Return why the waiting is over, or None.

        Args:
            now_ms: The peer's time.
            settled: Trainers whose payload is held or refused.
            idle: Peers that say that they work on no height yet (R6), or fell silent (P2).
            has_header: Whether any update header is known.
        """
        if self.started_ms is None:
            return None
        count, needed = len(settled), len(self.expected)  # Sets are compared only where that can matter.
        awaited = self.awaited(idle) if idle else self.expected
        if count >= len(awaited) and awaited <= settled:
            return "all"
        if settled and self._first_payload_ms is None:
            self._first_payload_ms = now_ms
        elapsed_ms = now_ms - self.started_ms
        may_be_most = self._grace_ends_ms is None and 3 * count > 2 * needed
        if may_be_most and 3 * len(self.expected & settled) > 2 * needed:
            self._grace_ends_ms = now_ms + max(self.preset.grace_ms, elapsed_ms // 2)
        if self._grace_ends_ms is not None and now_ms >= self._grace_ends_ms:
            return "grace"
        if elapsed_ms >= self.deadline_ms and self._was_silent is None:
            self._was_silent = not has_header
        return "deadline" if elapsed_ms >= self._patience_ms() else None

    def wait_ms(self, now_ms: int) -> int | None:
        """Return when to check again if nothing else happens; None while the clock stands."""
        if self.started_ms is None:
            return None
        ends_ms = self.started_ms + self._patience_ms()
        if self._grace_ends_ms is not None:
            ends_ms = min(ends_ms, self._grace_ends_ms)
        return max(1, ends_ms - now_ms)

    def _patience_ms(self) -> int:
        """T_collect; where all were silent by then, T_empty or T_grace after the first payload."""
        if not self._was_silent:
            return self.deadline_ms
        if self._first_payload_ms is None or self.started_ms is None:
            return self.preset.empty_ms
        return min(self.preset.empty_ms, self._first_payload_ms - self.started_ms + self.preset.grace_ms)
