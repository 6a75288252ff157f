"""How fast payloads come: what lengthens the second wait for a proposed block (spec/consensus.md T1)."""

from __future__ import annotations

from msgspec import Struct, field

BYTES_PER_SECOND_UNMEASURED = (
    1 << 20
)  # A slow line: too long a wait costs less than a block that is given up.
BUSY_MS_MAX = 60_000  # What was measured longer ago counts half, so that a line that changed is noticed.


class FetchRate(Struct):
    """Bytes that came, over the time in which something that came was under way.

    A payload that nobody serves never comes, so a liar that announces some makes no line look slow.
    """

    _bytes: int = 0
    _busy_ms: int = 0
    _last_ms: int = 0
    _asked_ms: dict[bytes, int] = field(default_factory=dict)

    def asked(self, name: bytes, now_ms: int) -> None:
        """Note that a blob is fetched from now on; the first time counts."""
        self._asked_ms.setdefault(name, now_ms)

    def came(self, name: bytes, size: int, now_ms: int) -> None:
        """Note that a blob of `size` bytes is here. One that was not asked for tells nothing."""
        asked_ms = self._asked_ms.pop(name, None)
        if asked_ms is None:
            return
        self._busy_ms += max(0, now_ms - max(asked_ms, self._last_ms))
        self._bytes += size
        self._last_ms = now_ms
        if self._busy_ms > BUSY_MS_MAX:
            self._bytes, self._busy_ms = self._bytes // 2, self._busy_ms // 2

    def forget(self) -> None:
        """Drop what is still under way: its height is over."""
        self._asked_ms.clear()

    @property
    def bytes_per_second(self) -> int:
        """Return the rate, at least 1."""
        if self._bytes == 0 and self._busy_ms == 0:
            return BYTES_PER_SECOND_UNMEASURED
        return max(1, 1000 * self._bytes // max(1, self._busy_ms))
