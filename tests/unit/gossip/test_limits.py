"""One peer's messages and bytes are bounded by time, to the token."""

from __future__ import annotations

import pytest

from p2pfed.errors import RateExceeded
from p2pfed.gossip.limits import BURST_SECONDS, RateLimiter


def _take(limiter: RateLimiter, count: int, message_bytes: int, now_ms: int) -> int:
    """Return how many of `count` messages passed."""
    for passed in range(count):
        try:
            limiter.take(message_bytes, now_ms)
        except RateExceeded:
            return passed
    return count


def test_a_burst_passes_and_the_message_after_it_is_refused() -> None:
    limiter = RateLimiter(0, messages_per_second=10, bytes_per_second=1 << 20)
    assert _take(limiter, 1000, 1, 0) == 10 * BURST_SECONDS


def test_messages_come_back_with_time_to_the_millisecond() -> None:
    limiter = RateLimiter(0, messages_per_second=10, bytes_per_second=1 << 20)
    _take(limiter, 1000, 1, 0)
    assert _take(limiter, 1, 1, 99) == 0
    assert _take(limiter, 2, 1, 100) == 1
    assert _take(limiter, 1000, 1, 1100) == 10


def test_an_idle_peer_saves_no_more_than_a_burst() -> None:
    limiter = RateLimiter(0, messages_per_second=10, bytes_per_second=1 << 20)
    _take(limiter, 1000, 1, 0)
    assert _take(limiter, 1000, 1, 10_000_000) == 10 * BURST_SECONDS


def test_bytes_are_limited_apart_from_messages() -> None:
    limiter = RateLimiter(0, messages_per_second=1000, bytes_per_second=100)
    assert _take(limiter, 1000, 50, 0) == 2 * BURST_SECONDS
    assert _take(limiter, 1000, 50, 500) == 1


def test_an_idle_peer_saves_no_more_bytes_than_a_burst_either() -> None:
    limiter = RateLimiter(0, messages_per_second=1000, bytes_per_second=100)
    assert _take(limiter, 1000, 50, 10_000_000) == 2 * BURST_SECONDS


def test_signatures_are_limited_apart_from_messages() -> None:
    limiter = RateLimiter(0, signatures_per_second=100)
    for _ in range(BURST_SECONDS):
        limiter.take(1, 0, 100)
    limiter.take(1, 0)  # What asks for no check passes.
    with pytest.raises(RateExceeded, match="signatures"):
        limiter.take(1, 0, 1)
    limiter.take(1, 500, 50)
    with pytest.raises(RateExceeded, match="signatures"):
        limiter.take(1, 500, 1)
    limiter.take(1, 1_000_000, 100 * BURST_SECONDS)
    with pytest.raises(RateExceeded, match="signatures"):
        limiter.take(1, 1_000_000, 1)


def test_a_refused_message_costs_nothing() -> None:
    limiter = RateLimiter(0, messages_per_second=1000, bytes_per_second=100)
    with pytest.raises(RateExceeded, match="bytes"):
        limiter.take(100 * BURST_SECONDS + 1, 0)
    limiter.take(100 * BURST_SECONDS, 0)


def test_a_clock_set_back_refills_nothing() -> None:
    limiter = RateLimiter(10_000, messages_per_second=10, bytes_per_second=1 << 20)
    _take(limiter, 1000, 1, 10_000)
    assert _take(limiter, 10, 1, 0) == 0
    assert _take(limiter, 10, 1, 10_000) == 0
    assert _take(limiter, 10, 1, 10_100) == 1
    fresh = RateLimiter(10_000, messages_per_second=10, bytes_per_second=1 << 20)
    assert _take(fresh, 1000, 1, 0) == 10 * BURST_SECONDS  # Nor does it take anything away.
