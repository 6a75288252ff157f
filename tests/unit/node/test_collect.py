"""Rule C1: a peer waits for updates as long as waiting pays, and never for ever."""

from __future__ import annotations

from p2pfed.consensus.timeouts import Preset
from p2pfed.node.collect import Collect

PRESET = Preset("test", 0, 0, 0, 0, 0, 500, 2_000, grace_ms=200, flight_ms=100, empty_ms=60_000)
A, B, C, D = (bytes([number]) for number in range(4))
START, DEADLINE = 10_000, 2_000


def waiting() -> Collect:
    collect = Collect(PRESET, frozenset((A, B, C, D)), DEADLINE)
    collect.run(START)
    return collect


def check(
    collect: Collect,
    after_ms: int,
    *settled: bytes,
    has_header: bool = True,
    listening: frozenset[bytes] = frozenset(),
) -> str | None:
    return collect.check(START + after_ms, frozenset(settled), listening, has_header=has_header)


def test_the_waiting_is_over_once_every_expected_trainer_is_settled() -> None:
    collect = waiting()
    assert check(collect, 1, A, B, C) is None
    assert check(collect, 2, A, B, C, D) == "all"


def test_a_trainer_that_nobody_expects_does_not_replace_one_that_is() -> None:
    assert check(waiting(), 1, A, B, C, b"stranger") is None


def test_who_listens_is_not_waited_for_as_long_as_two_thirds_do_not_listen() -> None:
    collect = Collect(PRESET, frozenset((A, B, C)), DEADLINE)
    collect.run(START)
    assert check(collect, 1, A, listening=frozenset((C,))) is None
    assert check(collect, 1, A, B, listening=frozenset((b"stranger",))) is None
    assert check(collect, 1, A, listening=frozenset((B, C))) is None
    assert collect.awaited(frozenset((B, C))) == {A, B, C}
    assert check(collect, 1, A, B, listening=frozenset((C,))) == "all"
    assert check(waiting(), 1, A, B, C, listening=frozenset((D,))) == "all"
    assert check(waiting(), 1, A, B, listening=frozenset((C, D))) is None


def test_more_than_two_thirds_start_the_grace_and_two_thirds_do_not() -> None:
    collect = Collect(PRESET, frozenset((A, B, C)), DEADLINE)
    collect.run(START)
    assert check(collect, 100, A, B) is None
    assert check(collect, 1_999, A, B) is None
    assert check(collect, 2_000, A, B) == "deadline"
    collect = waiting()
    assert check(collect, 100, A, B, C) is None
    assert check(collect, 299, A, B, C) is None
    assert check(collect, 300, A, B, C) == "grace"


def test_where_updates_come_slowly_the_grace_is_half_of_what_was_waited() -> None:
    collect = waiting()
    assert check(collect, 1_000, A, B, C) is None
    assert check(collect, 1_499, A, B, C) is None
    assert check(collect, 1_500, A, B, C) == "grace"


def test_the_grace_is_not_lengthened_by_asking_again() -> None:
    collect = waiting()
    for after_ms in (100, 150, 200, 250):
        assert check(collect, after_ms, A, B, C) is None
    assert check(collect, 300, A, B, C) == "grace"


def test_the_deadline_ends_the_waiting_for_peers_that_announced_and_do_not_deliver() -> None:
    collect = waiting()
    assert check(collect, 1_999, A) is None
    assert check(collect, 2_000, A) == "deadline"


def test_where_all_are_silent_the_first_payload_is_waited_for_and_then_the_grace() -> None:
    collect = waiting()
    assert check(collect, 2_000, has_header=False) is None
    assert check(collect, 30_000) is None
    assert check(collect, 30_001, A) is None
    assert check(collect, 30_200, A) is None
    assert check(collect, 30_201, A) == "deadline"


def test_where_nobody_ever_trains_the_height_goes_on_empty() -> None:
    collect = waiting()
    assert check(collect, 2_000, has_header=False) is None
    assert check(collect, 59_999, has_header=False) is None
    assert check(collect, 60_000, has_header=False) == "deadline"


def test_nothing_ends_while_the_clock_stands_and_it_starts_from_zero() -> None:
    collect = waiting()
    collect.pause()
    assert check(collect, 5_000, A, B, C, D) is None
    assert collect.wait_ms(START + 5_000) is None
    collect.run(START + 5_000)
    assert check(collect, 6_999, A) is None
    assert check(collect, 7_000, A) == "deadline"


def test_a_grace_that_was_running_is_forgotten_with_the_quorum() -> None:
    collect = waiting()
    assert check(collect, 100, A, B, C) is None
    collect.pause()
    collect.run(START + 1_000)
    assert check(collect, 1_000, A, B, C) is None
    assert check(collect, 1_199, A, B, C) is None
    assert check(collect, 1_200, A, B, C) == "grace"


def test_running_twice_does_not_start_the_clock_anew() -> None:
    collect = waiting()
    collect.run(START + 1_000)
    assert check(collect, 2_000, A) == "deadline"


def test_the_next_look_is_due_at_the_nearest_end() -> None:
    collect = waiting()
    assert collect.wait_ms(START) == DEADLINE
    check(collect, 100, A, B, C)
    assert collect.wait_ms(START + 100) == 200
    assert collect.wait_ms(START + 10_000) == 1
