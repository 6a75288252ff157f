"""Whom not to greet: an address that dials without end, and a key that was sent away a moment ago."""

from __future__ import annotations

import time

from p2pfed.errors import RateExceeded
from p2pfed.gossip.limits import RateLimiter
from p2pfed.net.limits import Limits


class HandshakeRates:
    """One bucket an address; of addresses that were not heard of for long none is kept."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._rates: dict[str, RateLimiter] = {}  # In the order of the last attempt.

    def __len__(self) -> int:
        return len(self._rates)

    def take(self, host: str) -> bool:
        """Count a connection of `host`; False where it may not begin a handshake now."""
        now_ms = time.monotonic_ns() // 1_000_000
        rate = self._rates.pop(host, None)
        if rate is None:
            if len(self._rates) >= self._limits.addresses_remembered:
                del self._rates[next(iter(self._rates))]
            a_second, at_once = self._limits.handshakes_per_second, self._limits.handshakes_at_once
            rate = RateLimiter(now_ms, messages_per_second=a_second, burst_seconds=at_once // a_second)
        self._rates[host] = rate
        try:
            rate.take(0, now_ms)
        except RateExceeded:
            return False
        return True


class RefusedKeys:
    """Keys that the peer closed its pipe to; they are told so before anything of theirs is read."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._until_ms: dict[bytes, int] = {}  # In the order of the last refusal.

    def __len__(self) -> int:
        return len(self._until_ms)

    def add(self, key: bytes) -> None:
        """Refuse `key` for a while."""
        self._until_ms.pop(key, None)
        if len(self._until_ms) >= self._limits.keys_refused:
            del self._until_ms[next(iter(self._until_ms))]
        self._until_ms[key] = time.monotonic_ns() // 1_000_000 + self._limits.refused_ms

    def has(self, key: bytes) -> bool:
        """Answer whether `key` is refused now."""
        until_ms = self._until_ms.get(key)
        return until_ms is not None and time.monotonic_ns() // 1_000_000 < until_ms
