"""What a peer holds of a height's updates: verified, once, and never more than a liar may make it keep."""

from __future__ import annotations

import msgspec
import pytest
from support.chain import World

from p2pfed.errors import BadSignature, OutOfBounds, PeerFault, WrongHeight
from p2pfed.node.update_pool import UPDATES_PER_TRAINER_MAX, UpdatePool
from p2pfed.primitives.keys import PrivateKey
from p2pfed.types.availability import list_hash


@pytest.fixture
def world() -> World:
    return World((10, 10, 10, 10))


@pytest.fixture
def pool(world: World) -> UpdatePool:
    return UpdatePool(world.state)


def test_a_header_is_kept_once(world: World, pool: UpdatePool) -> None:
    header = world.update(0)
    assert pool.add_header(header)
    assert not pool.add_header(header)
    assert list(pool.known.values()) == [header]


def test_a_header_that_is_no_candidate_costs_its_sender(world: World, pool: UpdatePool) -> None:
    with pytest.raises(BadSignature):
        pool.add_header(msgspec.structs.replace(world.update(0), signature=bytes(64)))
    with pytest.raises(WrongHeight):
        pool.add_header(world.update(0, base_height=7))
    assert not pool.known


def test_a_header_that_was_not_verified_leaves_nothing_behind(world: World, pool: UpdatePool) -> None:
    before = msgspec.structs.astuple(UpdatePool(world.state))
    for number in range(8):
        stranger = PrivateKey((number + 77).to_bytes(32, "big")).public
        with pytest.raises(PeerFault):
            pool.add_header(msgspec.structs.replace(world.update(0), trainer=stranger))
        with pytest.raises(PeerFault):
            pool.add_header(msgspec.structs.replace(world.update(0), base_height=number + 7))
    assert msgspec.structs.astuple(pool) == before


def test_of_one_trainer_two_updates_are_kept_and_a_third_only_where_somebody_holds_it(
    world: World, pool: UpdatePool
) -> None:
    headers = [world.update(0, seed=seed) for seed in range(UPDATES_PER_TRAINER_MAX + 1)]
    assert [pool.add_header(header) for header in headers] == [True, True, False]
    assert pool.add_header(world.update(1))
    pool.add_avail(world.avail(2, [headers[2]]))
    assert pool.add_header(headers[2])
    other = UpdatePool(world.state)
    assert [other.add_header(header, is_in_block=True) for header in headers] == [True] * 3


def test_an_update_is_held_or_refused_and_only_held_ones_are_voted_on(world: World, pool: UpdatePool) -> None:
    held, refused, open_ = world.update(0), world.update(1), world.update(2)
    for header in (held, refused, open_):
        pool.add_header(header)
    pool.settle(held.update_id, is_valid=True)
    pool.settle(refused.update_id, is_valid=False)
    assert pool.held_ids() == (held.update_id,)
    assert pool.settled_trainers() == {held.trainer, refused.trainer}
    assert not {held, refused} & {*pool.unserved()}
    assert [pool.is_settled(header.update_id) for header in (held, refused, open_)] == [True, True, False]


def test_ids_that_are_held_come_ascending(world: World, pool: UpdatePool) -> None:
    for header in world.updates():
        pool.add_header(header)
        pool.settle(header.update_id, is_valid=True)
    assert list(pool.held_ids()) == sorted(pool.held)


def test_a_validators_second_vote_neither_replaces_its_first_nor_is_passed_on(
    world: World, pool: UpdatePool
) -> None:
    first, second = world.avail(1, [world.update(0)]), world.avail(1, [])
    assert pool.add_avail(first)
    assert not pool.add_avail(second)
    assert pool.avails == {1: first}


def test_more_than_two_thirds_of_the_power_are_a_quorum_of_votes(world: World, pool: UpdatePool) -> None:
    for validator in range(3):
        assert not pool.has_avail_quorum()
        pool.add_avail(world.avail(validator, []))
    assert pool.has_avail_quorum()


def test_exactly_two_thirds_are_no_quorum() -> None:
    world = World((10, 10, 10))
    pool = UpdatePool(world.state)
    pool.add_avail(world.avail(0, []))
    pool.add_avail(world.avail(1, []))
    assert not pool.has_avail_quorum()


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"height": 2}, WrongHeight),
        ({"validator_index": 4}, OutOfBounds),
        ({"attempt": 1}, OutOfBounds),
        ({"count": 1}, OutOfBounds),
        ({"list_hash": list_hash((bytes(32),))}, OutOfBounds),
        ({"validator_index": 2}, BadSignature),
    ],
)
def test_a_vote_of_the_wrong_place_list_or_key_costs_its_sender(
    world: World, pool: UpdatePool, changes: dict[str, int], fault: type[Exception]
) -> None:
    with pytest.raises(fault):
        pool.add_avail(world.avail(1, [], **changes))
    assert not pool.avails


def test_a_list_out_of_order_or_with_doubles_costs_its_sender(world: World, pool: UpdatePool) -> None:
    good = world.avail(1, [world.update(0), world.update(1)])
    for ids in (good.update_ids[::-1], good.update_ids[:1] * 2):
        signed = world.avail(1, [], count=2, list_hash=list_hash(ids))
        with pytest.raises(OutOfBounds, match="ascending"):
            pool.add_avail(type(signed)(signed.avail, ids))


def test_a_vote_from_before_the_last_block_costs_its_sender(world: World, pool: UpdatePool) -> None:
    with pytest.raises(OutOfBounds, match="not after"):
        pool.add_avail(world.avail(1, [], time_ms=world.state.time_ms))
    assert pool.add_avail(world.avail(1, [], time_ms=world.state.time_ms + 1))


def test_the_trainer_and_then_those_that_voted_for_an_update_should_have_it(
    world: World, pool: UpdatePool
) -> None:
    header, other = world.update(2), world.update(3)
    pool.add_avail(world.avail(3, [header]))
    pool.add_avail(world.avail(1, [header, other]))
    pool.add_avail(world.avail(0, [other]))
    pool.add_avail(world.avail(2, [header]))
    keys = [entry.key for entry in world.state.validators.validators]
    assert pool.holders_of(header) == (
        header.trainer,
        *(keys[i] for i in (1, 2, 3) if keys[i] != header.trainer),
    )


def test_what_a_voter_lacks_of_what_we_hold_is_known(world: World, pool: UpdatePool) -> None:
    ours, both, unheld = world.update(0), world.update(1), world.update(2)
    for header in (ours, both, unheld):
        pool.add_header(header)
    pool.settle(ours.update_id, is_valid=True)
    pool.settle(both.update_id, is_valid=True)
    assert pool.held_but_not_listed(world.avail(1, [both])) == (ours,)


def test_what_a_height_did_not_take_is_carried_to_the_next_one_while_it_may_count() -> None:
    world = World((10,) * 4, update_lag=2)
    pool = UpdatePool(world.state)
    counted, held, open_, refused = (world.update(place) for place in range(4))
    for header in (counted, held, open_, refused):
        pool.add_header(header)
    for header in (counted, held):
        pool.settle(header.update_id, is_valid=True)
    pool.settle(refused.update_id, is_valid=False)
    world.advance(headers=(counted, *()), avails=world.avails((counted,)))
    later = UpdatePool(world.state)
    later.carry(pool)
    assert set(later.known) == {header.update_id for header in (held, open_, refused)}
    assert (later.held, later.refused) == ({held.update_id}, {refused.update_id})
    assert not later.add_header(counted)  # Used up: no new header, and nobody to blame.
    world.advance()
    last = UpdatePool(world.state)
    last.carry(later)
    assert not last.known


def test_with_a_window_of_one_nothing_is_carried(world: World, pool: UpdatePool) -> None:
    pool.add_header(world.update(0))
    world.advance(headers=(world.update(1), world.update(2), world.update(3)))
    later = UpdatePool(world.state)
    later.carry(pool)
    assert not later.known
