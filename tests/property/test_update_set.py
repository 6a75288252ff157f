"""Nobody can censor an update that the honest hold, or push in one that none of them holds."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from support.chain import World

from p2pfed.chain.check import check, verify_body
from p2pfed.chain.update_set import supported_ids, update_set
from p2pfed.consensus.quorum import has_quorum
from p2pfed.types.validators import validator_set

HELD_BY_ALL, HELD_BY_LIARS = bytes(31) + b"a", bytes(31) + b"z"


@st.composite
def votes(draw: st.DrawFn) -> tuple[list[int], set[int], list[int]]:
    """Return (powers, who lies: less than a third, whose votes the proposer took: more than two thirds)."""
    powers = draw(st.lists(st.integers(1, 100), min_size=1, max_size=10))
    total = sum(powers)
    order = draw(st.permutations(range(len(powers))))
    liars: set[int] = set()
    for place in order:
        if 3 * sum(powers[liar] for liar in {*liars, place}) < total and draw(st.booleans()):
            liars.add(place)
    taken: list[int] = []
    # A proposer that censors takes the liars' votes first and stops as early as it may.
    for place in sorted(order, key=lambda place: place not in liars):
        if not has_quorum(sum(powers[chosen] for chosen in taken), total):
            taken.append(place)
    return powers, liars, sorted(taken)


@given(votes(), st.data())
def test_an_update_that_every_honest_signer_holds_is_merged(
    drawn: tuple[list[int], set[int], list[int]], data: st.DataObject
) -> None:
    powers, liars, taken = drawn
    validators = validator_set(
        (bytes([2]) + bytes(31) + bytes([place]), power) for place, power in enumerate(powers)
    )
    lies = st.sampled_from([(), (HELD_BY_ALL,), (HELD_BY_LIARS,), (HELD_BY_ALL, HELD_BY_LIARS)])
    lists = [(place, data.draw(lies) if place in liars else (HELD_BY_ALL,)) for place in taken]
    assert supported_ids(lists, validators) == (HELD_BY_ALL,)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_block_merges_what_the_honest_hold_whatever_liars_list(data: st.DataObject) -> None:
    count = data.draw(st.integers(4, 7))
    world = World([100] * count, rules=("mean",), updates_min=3)
    updates = world.updates()
    lying = data.draw(st.sets(st.integers(0, count - 1), max_size=(count - 1) // 3))
    common = data.draw(
        st.lists(st.sampled_from(updates), min_size=1, unique_by=lambda update: update.trainer)
    )
    avails = tuple(
        world.avail(
            place,
            data.draw(st.lists(st.sampled_from(updates), unique_by=lambda update: update.trainer))
            if place in lying
            else common,
        )
        for place in range(count)
    )
    silent = data.draw(st.integers(0, (count - 1) // 3))
    header, body, _ = world.build(headers=updates, avails=avails[silent:])
    expected = tuple(sorted(common, key=lambda update: update.trainer))
    assert update_set(body.updates, header.round0).updates == expected
    assert header.is_empty == (len(expected) < 3)
    assert verify_body(world.state, header, body) == (() if header.is_empty else expected)
    check(world.state, header, body, world.payload)
