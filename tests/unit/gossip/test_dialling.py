"""Waits between dials double up to a bound, never end, and differ between peers."""

from __future__ import annotations

from p2pfed.gossip.dialling import BACKOFF_FIRST_MS, BACKOFF_MAX_MS, HEAD_START_MS, backoff_ms, head_start_ms

OWN, PEER = b"\x02" + bytes(32), b"\x03" + bytes(32)


def test_the_wait_doubles_up_to_its_bound_and_goes_on_for_ever() -> None:
    for attempt in [*range(40), 10**6, 10**15]:
        full_ms = min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** min(attempt, 30))
        assert full_ms // 2 <= backoff_ms(OWN, PEER, attempt) <= full_ms


def test_the_wait_repeats_for_the_same_peer_and_attempt() -> None:
    assert backoff_ms(OWN, PEER, 3) == backoff_ms(OWN, PEER, 3)


def test_peers_that_lost_each_other_together_come_back_apart() -> None:
    waits = {backoff_ms(number.to_bytes(33, "big"), PEER, 6) for number in range(100)}
    assert len(waits) > 90
    assert max(waits) - min(waits) > BACKOFF_MAX_MS // 3
    assert len({backoff_ms(OWN, PEER, attempt) for attempt in range(10, 60)}) > 40
    assert len({backoff_ms(OWN, number.to_bytes(33, "big"), 6) for number in range(100)}) > 90


def test_of_two_peers_exactly_one_dials_at_once() -> None:
    assert sorted((head_start_ms(OWN, PEER), head_start_ms(PEER, OWN))) == [0, HEAD_START_MS]
