"""How long a height waits."""

from __future__ import annotations

import pytest

from p2pfed.consensus.timeouts import PRESETS, Preset

LOCAL, WAN = PRESETS["local"], PRESETS["wan"]


def test_the_presets_have_the_values_of_the_protocol_text() -> None:
    assert [WAN.propose_ms(0), WAN.propose_ms(2), WAN.vote_ms(0), WAN.vote_ms(2)] == [3000, 4000, 1000, 2000]
    assert [LOCAL.propose_ms(0), LOCAL.propose_ms(2), LOCAL.vote_ms(0), LOCAL.vote_ms(2)] == [
        1000,
        1500,
        500,
        1000,
    ]
    assert (WAN.collect_cap_ms, WAN.grace_ms, WAN.cap_ms, WAN.empty_ms) == (30_000, 1000, 60_000, 60_000)
    assert (LOCAL.collect_cap_ms, LOCAL.grace_ms) == (2000, 200)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_waits_grow_with_the_round_and_stop_at_the_cap(preset: Preset) -> None:
    for wait in (preset.propose_ms, preset.vote_ms):
        waits = [wait(round_) for round_ in range(200)]
        assert waits == sorted(waits)
        assert waits[0] < waits[1]
        assert wait((1 << 32) - 1) == preset.cap_ms
    assert preset.collect_floor_ms <= preset.collect_cap_ms


def test_missing_bytes_lengthen_the_wait_at_the_measured_rate() -> None:
    assert LOCAL.fetch_ms(0, 1) == 1000
    assert LOCAL.fetch_ms(3_000_000, 1_000_000) == 4000
    assert LOCAL.fetch_ms(1 << 40, 1) == LOCAL.cap_ms


def test_collecting_takes_twice_the_median_of_the_last_eight_within_bounds() -> None:
    assert WAN.collect_ms([]) == WAN.collect_cap_ms
    assert WAN.collect_ms([1500, 9000, 4000]) == 8000
    assert WAN.collect_ms([1500, 9000]) == 18_000
    assert WAN.collect_ms([20_000] * 20 + [3000] * 8) == 6000
    assert WAN.collect_ms([10]) == WAN.collect_floor_ms
    assert WAN.collect_ms([30_000]) == WAN.collect_cap_ms


def test_each_height_without_a_new_model_doubles_the_collecting_up_to_t_empty() -> None:
    waits = [LOCAL.collect_ms([300] * 8, run) for run in range(7)]
    assert waits == [600, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]
    assert LOCAL.collect_ms([], 1_000_000) == LOCAL.empty_ms
