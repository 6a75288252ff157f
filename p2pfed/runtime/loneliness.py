"""When to say aloud that nobody talks to this peer: soon, and then not again and again."""

from __future__ import annotations

LONELY_MS = 5_000  # Without any pipe for so long, a person is told why the last dial failed …
LONELY_PAUSE_MS = 60_000  # … and again no sooner than this.
LONELY_REMEDY = "check [network] join in config.toml and that a peer of this network runs there"


class Loneliness:
    """Asked after each dial that failed; `now_ms` is when the peer started."""

    def __init__(self, now_ms: int) -> None:
        self._due_ms = now_ms + LONELY_MS

    def is_worth_telling(self, now_ms: int, *, is_connected: bool) -> bool:
        """Answer whether a person should be told now."""
        if is_connected:
            self._due_ms = now_ms + LONELY_MS
        elif now_ms >= self._due_ms:
            self._due_ms = now_ms + LONELY_PAUSE_MS
            return True
        return False
