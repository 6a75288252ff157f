"""How fast payloads come, as an integer that a liar can't make small."""

from __future__ import annotations

from p2pfed.node.fetch_rate import BUSY_MS_MAX, BYTES_PER_SECOND_UNMEASURED, FetchRate

A, B, C = b"a", b"b", b"c"


def test_before_anything_came_a_slow_line_is_assumed() -> None:
    rate = FetchRate()
    rate.asked(A, 0)
    assert rate.bytes_per_second == BYTES_PER_SECOND_UNMEASURED


def test_the_time_in_which_several_are_under_way_counts_once() -> None:
    rate = FetchRate()
    for name, at in ((A, 1_000), (B, 1_000), (C, 1_500)):
        rate.asked(name, at)
    rate.came(A, 3_000, 2_000)
    rate.came(B, 3_000, 3_000)
    rate.came(C, 3_000, 4_000)
    assert rate.bytes_per_second == 3_000  # 9,000 bytes in the 3 seconds from 1,000 to 4,000.


def test_idle_time_and_what_never_comes_count_nothing() -> None:
    rate = FetchRate()
    rate.asked(A, 0)  # A liar announces it and serves it to nobody.
    rate.asked(B, 50_000)
    rate.came(B, 1_000, 50_500)
    rate.asked(C, 90_000)
    rate.came(C, 1_000, 90_500)
    assert rate.bytes_per_second == 2_000


def test_what_was_not_asked_for_or_is_of_a_height_that_is_over_tells_nothing() -> None:
    rate = FetchRate()
    rate.came(A, 1 << 30, 10)
    rate.asked(B, 20)
    rate.forget()
    rate.came(B, 1 << 30, 30)
    assert rate.bytes_per_second == BYTES_PER_SECOND_UNMEASURED


def test_a_line_that_became_slow_is_noticed() -> None:
    rate = FetchRate()
    rate.asked(A, 0)
    rate.came(A, 60_000_000, BUSY_MS_MAX)
    assert rate.bytes_per_second == 1_000_000
    for number in range(8):
        begun = BUSY_MS_MAX * (number + 1)
        rate.asked(B, begun)
        rate.came(B, 60_000, begun + BUSY_MS_MAX)
    assert rate.bytes_per_second < 10_000


def test_bytes_that_come_in_no_time_and_a_line_that_hardly_moves_have_a_rate() -> None:
    fast, slow = FetchRate(), FetchRate()
    fast.asked(A, 5)
    fast.came(A, 10, 5)
    slow.asked(A, 0)
    slow.came(A, 1, 1 << 40)
    assert (fast.bytes_per_second, slow.bytes_per_second) == (10_000, 1)
