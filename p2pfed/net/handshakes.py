"""Count the handshakes of each address: a banned peer that dials again at once costs no TLS each time."""

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
            rate = RateLimiter(now_ms, messages_per_second=self._limits.handshakes_per_second)
        self._rates[host] = rate
        try:
            rate.take(0, now_ms)
        except RateExceeded:
            return False
        return True
