"""Pledges: who has an update to show, each once, and which of them came in time."""

from __future__ import annotations

import msgspec
import pytest
from support.chain import World

from p2pfed.errors import BadSignature, OutOfBounds, WrongHeight
from p2pfed.node.pledges import Pledges
from p2pfed.node.update_pool import UpdatePool
from p2pfed.types.message import SignedMessage
from p2pfed.types.pledge import Pledge
from p2pfed.types.update import UpdateHeader

PAYING = {"emission": 1 << 30}


@pytest.fixture
def world() -> World:
    return World((10, 10, 10, 10), **PAYING)


@pytest.fixture
def pledges(world: World) -> Pledges:
    return Pledges(world.state, SignedMessage.is_signed_by)


def pledge_of(world: World, header: UpdateHeader, **changes: object) -> Pledge:
    unsigned = Pledge(header.trainer, header.base_height, header.update_id, bytes(64))
    return world.sign(msgspec.structs.replace(unsigned, **changes), world.keys[header.trainer])


def test_of_a_trainer_the_first_pledge_stands(world: World, pledges: Pledges) -> None:
    first, second = (pledge_of(world, world.update(1, seed=seed)) for seed in (0, 1))
    assert pledges.add(first)
    assert not pledges.add(first)
    assert not pledges.add(second)
    assert pledges.due() == (first,)
    assert pledges.trainers == {first.trainer}


def test_what_nobody_honest_pledges_costs_its_sender(world: World, pledges: Pledges) -> None:
    header = world.update(1)
    with pytest.raises(BadSignature):
        pledges.add(msgspec.structs.replace(pledge_of(world, header), signature=bytes(64)))
    with pytest.raises(WrongHeight):
        pledges.add(pledge_of(world, header, base_height=3))
    larger = World((10,) * 5, **PAYING)
    (stranger,) = (one for one in larger.updates() if one.trainer not in world.publics)
    with pytest.raises(OutOfBounds):
        pledges.add(pledge_of(larger, stranger))
    assert not pledges.first


def test_an_update_is_due_by_its_pledge_and_no_other_update_is(world: World, pledges: Pledges) -> None:
    early, late = world.update(0), world.update(1)
    other = world.update(0, seed=1)
    pledges.add(pledge_of(world, early))
    place = (early.trainer, 0)
    assert pledges.is_due(*place, early.update_id)
    assert not pledges.is_due(*place, other.update_id)
    pledges.close()
    assert pledges.add(pledge_of(world, late))  # It may count for the block after this one.
    assert pledges.is_due(*place, early.update_id)
    assert not pledges.is_due(late.trainer, 0, late.update_id)
    assert pledges.due_trainers() == {early.trainer}
    assert [pledge.update_id for pledge in pledges.due()] == [early.update_id]


def test_a_late_pledge_is_in_time_for_the_next_block_where_older_updates_count() -> None:
    world = World((10, 10, 10, 10), update_lag=3, **PAYING)
    headers, pool = world.updates(), UpdatePool(world.state)
    assert pool.pledges is not None
    for header in headers[:3]:
        pool.pledges.add(pledge_of(world, header))
    pool.pledges.close()
    pool.pledges.add(pledge_of(world, headers[3]))
    assert not pool.is_due(headers[3])
    world.advance(headers=headers[:3], avails=world.avails(headers[:3]))
    after = UpdatePool(world.state)
    after.carry(pool)
    assert after.pledges is not None
    assert after.is_due(headers[3])
    assert list(after.pledges.first) == [(headers[3].trainer, 0)]  # The others are used up.
    assert not after.pledges.add(pledge_of(world, headers[0]))  # Whoever has not seen that block may send it.
    for _ in range(3):
        world.advance(headers=())
    later = UpdatePool(world.state)
    later.carry(after)
    assert later.pledges is not None
    assert not later.pledges.first  # Too old by now.


def test_only_what_is_held_and_due_is_voted_for(world: World) -> None:
    pool, (pledged, other, *_) = UpdatePool(world.state), world.updates()
    for header in (pledged, other):
        pool.add_header(header)
        pool.settle(header.update_id, is_valid=True)
    assert pool.pledges is not None
    pool.pledges.add(pledge_of(world, pledged))
    pool.pledges.close()
    assert pool.held_ids() == (pledged.update_id,)


def test_digests_ask_for_pledges_first_and_for_headers_then(world: World) -> None:
    pool, headers = UpdatePool(world.state), world.updates()
    assert pool.pledges is not None
    places = {key: 1 << place for place, key in enumerate(world.state.trainers)}
    for header in headers[:2]:
        pool.pledges.add(pledge_of(world, header))
    pool.add_header(headers[0])
    pool.add_header(headers[2])
    assert pool.update_bits == places[headers[0].trainer] | places[headers[1].trainer]
    pool.pledges.close()
    assert pool.update_bits == places[headers[0].trainer]


def test_a_network_that_pays_nothing_has_no_pledges() -> None:
    world = World((10, 10, 10, 10))
    pool, header = UpdatePool(world.state), world.update(0)
    assert pool.pledges is None
    assert pool.is_due(header)
