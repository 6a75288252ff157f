"""An address that dials without end is closed unheard, the others are not."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from p2pfed.net import handshakes
from p2pfed.net.handshakes import HandshakeRates, RefusedKeys
from p2pfed.net.limits import DEFAULT_LIMITS


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A clock in ms that a test sets."""
    now = [0]
    monkeypatch.setattr(handshakes.time, "monotonic_ns", lambda: now[0] * 1_000_000)
    return now


def test_an_address_gets_its_burst_then_its_rate_and_no_other_pays_for_it(clock: list[int]) -> None:
    rates = HandshakeRates(DEFAULT_LIMITS)
    burst = DEFAULT_LIMITS.handshakes_at_once
    assert [rates.take("10.0.0.1") for _ in range(burst + 2)] == [True] * burst + [False] * 2
    assert rates.take("10.0.0.2")
    clock[0] = 1_000
    count = DEFAULT_LIMITS.handshakes_per_second
    assert [rates.take("10.0.0.1") for _ in range(count + 1)] == [True] * count + [False]


def test_addresses_without_number_do_not_fill_the_memory(clock: list[int]) -> None:
    rates = HandshakeRates(replace(DEFAULT_LIMITS, addresses_remembered=8))
    for number in range(100):
        assert rates.take(f"10.0.0.{number}")
    assert len(rates) == 8


def test_a_key_that_was_sent_away_is_refused_for_a_while_and_few_are_remembered(clock: list[int]) -> None:
    keys = RefusedKeys(replace(DEFAULT_LIMITS, keys_refused=2))
    for key in (b"a", b"b", b"c"):
        keys.add(key)
    assert [keys.has(key) for key in (b"a", b"b", b"c")] == [False, True, True]
    assert len(keys) == 2
    clock[0] = DEFAULT_LIMITS.refused_ms - 1
    assert keys.has(b"c")
    clock[0] += 1
    assert not keys.has(b"c")
