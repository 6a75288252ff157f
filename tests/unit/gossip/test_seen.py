"""Ids are met for the first time once, within a bound."""

from __future__ import annotations

from p2pfed.gossip.seen import Seen


def _id(number: int) -> bytes:
    return number.to_bytes(32, "big")


def test_an_id_is_met_for_the_first_time_once() -> None:
    seen = Seen(4)
    assert seen.first_time(_id(1))
    assert not seen.first_time(_id(1))
    assert seen.first_time(_id(2))
    assert _id(1) in seen
    assert _id(3) not in seen


def test_a_full_memory_forgets_what_was_met_longest_ago() -> None:
    seen = Seen(3)
    for number in (1, 2, 3):
        seen.first_time(_id(number))
    seen.first_time(_id(2))  # Met again, and no room is needed for it.
    assert all(_id(number) in seen for number in (1, 2, 3))
    seen.first_time(_id(4))
    seen.first_time(_id(5))
    assert len(seen) == 3
    assert all(_id(number) in seen for number in (2, 4, 5))


def test_a_flood_of_ids_never_takes_more_than_the_capacity() -> None:
    seen = Seen(8)
    for number in range(1000):
        seen.first_time(_id(number))
        assert len(seen) <= 8


def test_a_forgotten_id_is_new_again() -> None:
    seen = Seen(2)
    seen.first_time(_id(1))
    seen.forget(_id(1))
    seen.forget(_id(9))
    assert seen.first_time(_id(1))
