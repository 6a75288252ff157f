"""Which updates are merged follows from the availability votes alone."""

from __future__ import annotations

from support.chain import World

from p2pfed.chain.update_set import ROUND_WITHOUT_UPDATES, median_time_ms, supported_ids, update_set
from p2pfed.types.availability import AvailEntry
from p2pfed.types.validators import ValidatorSet, validator_set

A, B, C = bytes(31) + b"a", bytes(31) + b"b", bytes(31) + b"c"


def powers(*values: int) -> ValidatorSet:
    return validator_set(
        (bytes([2]) + bytes(31) + bytes([place]), power) for place, power in enumerate(values)
    )


def test_support_counts_power_and_a_third_is_not_enough() -> None:
    validators = powers(1, 1, 1)
    assert supported_ids([(0, [A])], validators) == ()
    assert supported_ids([(0, [A, B]), (2, [B])], validators) == (B,)
    assert supported_ids([(0, [A])], powers(34, 33, 33)) == (A,)
    assert supported_ids([(1, [A])], powers(34, 33, 33)) == ()


def test_supported_ids_ascend() -> None:
    assert supported_ids([(0, [C]), (1, [A, B])], powers(1, 1)) == (A, B, C)


def test_rows_are_sorted_by_trainer() -> None:
    updates = World([1] * 7).updates()
    by_id = sorted(updates, key=lambda update: update.update_id)
    assert by_id != list(updates)
    assert update_set(by_id, 0).updates == updates


def test_a_trainer_with_two_supported_updates_is_out_whole() -> None:
    world = World([1] * 4)
    twice = (world.update(1), world.update(1, seed=1))
    chosen = update_set((*world.updates()[2:], *twice, world.update(0)), 0)
    assert [update.trainer for update in chosen.updates] == [world.publics[place] for place in (0, 2, 3)]
    assert chosen.dropped == ((world.publics[1], 0),)


def test_of_a_trainers_updates_the_one_of_the_newest_base_counts_and_two_of_one_base_put_all_out() -> None:
    world = World([1] * 4, update_lag=2)
    first = world.state
    world.advance(headers=tuple(world.update(place) for place in range(2)))
    old, new = world.update(2, base=first), world.update(2)
    lying = (world.update(3, base=first), world.update(3, base=first, seed=1), world.update(3))
    chosen = update_set((old, *lying, new, world.update(0)), 0)
    assert chosen.updates == tuple(sorted((world.update(0), new), key=lambda update: update.trainer))
    assert chosen.dropped == ((world.publics[3], 1),)


def test_late_rounds_merge_nothing_so_that_the_ledger_goes_on() -> None:
    updates = World([1] * 4).updates()
    assert ROUND_WITHOUT_UPDATES == 4
    for round0 in range(4):
        assert update_set(updates, round0).updates == updates
    for round0 in (4, 5, 1000):
        assert update_set(updates, round0).updates == ()


def entry(index: int, time_ms: int) -> AvailEntry:
    return AvailEntry(index, 0, time_ms, 0, b"", bytes(64))


def test_the_time_is_the_lower_median_by_stake() -> None:
    assert median_time_ms([entry(0, 10), entry(1, 30), entry(2, 20)], powers(1, 1, 1)) == 20
    assert median_time_ms([entry(0, 10), entry(1, 30), entry(2, 20), entry(3, 40)], powers(1, 1, 1, 1)) == 20
    assert median_time_ms([entry(0, 10), entry(1, 30), entry(2, 20)], powers(1, 3, 1)) == 30
    assert median_time_ms([entry(0, 10), entry(1, 30)], powers(2, 2)) == 10


def test_less_than_half_of_the_stake_cannot_move_the_time_out_of_the_honest_range() -> None:
    honest = [entry(0, 100), entry(1, 110), entry(2, 120)]
    for lie in (0, 1 << 62):
        assert 100 <= median_time_ms([*honest, entry(3, lie), entry(4, lie)], powers(1, 1, 1, 1, 1)) <= 120
