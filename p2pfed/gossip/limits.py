"""Bound what one peer may send: buckets of messages, bytes and signatures, refilled by time."""

from __future__ import annotations

from p2pfed.errors import RateExceeded

# A vote costs about 26 us, so 2,000 messages a second keep a peer below 6 % of one core.
MESSAGES_PER_SECOND_MAX = 2_000
BYTES_PER_SECOND_MAX = 8 << 20
# A certificate holds up to 400, so messages alone would not bound the work: a fifth of a core at most.
SIGNATURES_PER_SECOND_MAX = 8_000
BURST_SECONDS = 2  # A round of 400 validators, or the records of a network, may arrive at once.
_MILLI = 1_000


class RateLimiter:
    """The limits of one peer. All buckets start full.

    Tokens are in thousandths, so that one millisecond's share of a rate is a whole number. The buckets are
    plain numbers and filled where they are asked: every message passes here.
    """

    __slots__ = (
        "_byte_tokens", "_bytes_max", "_bytes_rate", "_message_tokens", "_messages_max", "_messages_rate",
        "_now_ms", "_signature_tokens", "_signatures_max", "_signatures_rate",
    )  # fmt: skip

    def __init__(
        self,
        now_ms: int,
        *,
        messages_per_second: int = MESSAGES_PER_SECOND_MAX,
        bytes_per_second: int = BYTES_PER_SECOND_MAX,
        signatures_per_second: int = SIGNATURES_PER_SECOND_MAX,
        burst_seconds: int = BURST_SECONDS,
    ) -> None:
        assert min(messages_per_second, bytes_per_second, signatures_per_second) > 0
        self._now_ms = now_ms
        self._messages_rate, self._bytes_rate = messages_per_second, bytes_per_second
        self._message_tokens = self._messages_max = messages_per_second * burst_seconds * _MILLI
        self._byte_tokens = self._bytes_max = bytes_per_second * burst_seconds * _MILLI
        self._signatures_rate = signatures_per_second
        self._signature_tokens = self._signatures_max = signatures_per_second * burst_seconds * _MILLI

    def take(self, message_bytes: int, now_ms: int, signatures: int = 0) -> None:
        """Account for one message of `message_bytes` with so many unverified signatures.

        A refused one costs no tokens.

        Raises:
            RateExceeded: The peer sent more than its limits allow; both values are in the text.
        """
        assert message_bytes >= 0
        elapsed_ms = now_ms - self._now_ms
        if elapsed_ms > 0:  # A clock that is set back refills nothing.
            self._now_ms = now_ms
            messages = self._message_tokens + elapsed_ms * self._messages_rate
            octets = self._byte_tokens + elapsed_ms * self._bytes_rate
            self._message_tokens = messages if messages < self._messages_max else self._messages_max
            self._byte_tokens = octets if octets < self._bytes_max else self._bytes_max
            signed = self._signature_tokens + elapsed_ms * self._signatures_rate
            self._signature_tokens = signed if signed < self._signatures_max else self._signatures_max
        if self._message_tokens < _MILLI:
            raise RateExceeded(f"more than {self._messages_rate} messages a second")
        if self._byte_tokens < message_bytes * _MILLI:
            raise RateExceeded(f"{message_bytes} bytes more than {self._bytes_rate} a second allow")
        if self._signature_tokens < signatures * _MILLI:
            raise RateExceeded(f"{signatures} signatures more than {self._signatures_rate} a second allow")
        self._message_tokens -= _MILLI
        self._byte_tokens -= message_bytes * _MILLI
        self._signature_tokens -= signatures * _MILLI
