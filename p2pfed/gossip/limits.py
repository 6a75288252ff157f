"""Bound what one peer may send: a bucket of messages and a bucket of bytes, refilled by time."""

from __future__ import annotations

from p2pfed.errors import RateExceeded

# A vote costs about 26 us, so 2,000 messages a second keep a peer below 6 % of one core.
MESSAGES_PER_SECOND_MAX = 2_000
BYTES_PER_SECOND_MAX = 8 << 20
BURST_SECONDS = 4  # A round of 400 validators, or the records of a network, may arrive at once.
_MILLI = 1_000


class _Bucket:
    """Tokens in thousandths, so that one millisecond's share of the rate is a whole number."""

    __slots__ = ("_capacity", "_rate", "_tokens")

    def __init__(self, per_second: int) -> None:
        assert per_second > 0
        self._rate = per_second
        self._capacity = per_second * BURST_SECONDS * _MILLI
        self._tokens = self._capacity

    def refill(self, elapsed_ms: int) -> None:
        self._tokens = min(self._capacity, self._tokens + elapsed_ms * self._rate)

    def has(self, count: int) -> bool:
        return self._tokens >= count * _MILLI

    def take(self, count: int) -> None:
        self._tokens -= count * _MILLI


class RateLimiter:
    """The limits of one peer. Both buckets start full."""

    __slots__ = ("_bytes", "_messages", "_now_ms")

    def __init__(
        self,
        now_ms: int,
        *,
        messages_per_second: int = MESSAGES_PER_SECOND_MAX,
        bytes_per_second: int = BYTES_PER_SECOND_MAX,
    ) -> None:
        self._now_ms = now_ms
        self._messages = _Bucket(messages_per_second)
        self._bytes = _Bucket(bytes_per_second)

    def take(self, message_bytes: int, now_ms: int) -> None:
        """Account for one message of `message_bytes`; a refused one costs no tokens.

        Raises:
            RateExceeded: The peer sent more than its limits allow; both values are in the text.
        """
        assert message_bytes >= 0
        elapsed_ms = max(0, now_ms - self._now_ms)  # A clock that is set back refills nothing.
        self._now_ms = max(self._now_ms, now_ms)
        self._messages.refill(elapsed_ms)
        self._bytes.refill(elapsed_ms)
        if not self._messages.has(1):
            raise RateExceeded(f"more than {self._messages._rate} messages a second")
        if not self._bytes.has(message_bytes):
            raise RateExceeded(f"{message_bytes} bytes more than {self._bytes._rate} a second allow")
        self._messages.take(1)
        self._bytes.take(message_bytes)
