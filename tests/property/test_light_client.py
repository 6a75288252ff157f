"""A lying primary with at most a third of every set: whatever it serves, nothing false is believed."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from support.light import START_MS, LightChain, certified, follow, powers_to_set

from p2pfed.chain.light import trusted_block
from p2pfed.errors import PeerFault
from p2pfed.types.light import LightBlock

HEIGHTS = 16
NOW_MS = START_MS + 1000 * (HEIGHTS + 2)
HONEST, LIARS, STRANGERS = range(6), (6, 7), (8, 9, 10)

# A validator set: honest members with power 1-4; liars get what a third leaves them.
honest_sets = st.dictionaries(st.sampled_from(HONEST), st.integers(1, 4), min_size=1, max_size=5)
histories = st.lists(st.tuples(st.integers(1, 4), honest_sets, st.integers(0, 2)), min_size=1, max_size=8)
lies = st.dictionaries(
    st.integers(1, HEIGHTS),
    st.sampled_from(["forged", "own set", "mixed set", "other height", "early", "wrong signature", "double"]),
)


def world_of(history: list[tuple[int, dict[int, int], int]]) -> LightChain:
    """Return a chain whose sets last for some heights each, with liars of at most a third in every one."""
    sets: list[list[tuple[int, int]]] = []
    for lasts, honest, lying in history:
        left = sum(honest.values()) // 2  # Liars of half the honest power are a third of all.
        powers = [(number, left // lying) for number in LIARS[:lying] if left // lying]
        sets += [sorted(honest.items()) + powers] * lasts
    return LightChain(lambda height: sets[min(height, len(sets)) - 1])


class Primary:
    """Serves the real chain, but where it lies."""

    def __init__(self, world: LightChain, lies: dict[int, str]) -> None:
        self.world = world
        self.lies = lies

    def __call__(self, height: int) -> LightBlock:
        world, real = self.world, self.world.block(height)
        own = [(number, 5) for number in (*LIARS, *STRANGERS)]
        signers = (*LIARS, *STRANGERS)
        match self.lies.get(height):
            case "forged":
                return world.block(height, signers, model_root=bytes(32))
            case "own set":
                header = world.header(
                    height,
                    validators_hash=powers_to_set(own).hash,
                    next_validators_hash=powers_to_set(own).hash,
                )
                return certified(header, own, powers_to_set(own))
            case "mixed set":  # Honest keys that don't sign, and enough of our own to be a quorum of them.
                mixed = [*((number, 1) for number in HONEST), *((number, 50) for number in signers)]
                header = world.header(
                    height,
                    validators_hash=powers_to_set(mixed).hash,
                    next_validators_hash=powers_to_set(own).hash,
                )
                return certified(header, mixed, powers_to_set(own), signers)
            case "other height":
                return world.block(max(1, height - 1))
            case "early":
                return world.block(height, LIARS, model_root=bytes(32), time_ms=START_MS + 5)
            case "wrong signature":
                header = world.header(height, model_root=bytes(32))
                commit = msgspec.structs.replace(real.commit, value_id=header.value_id)
                return LightBlock(header, commit, real.validators, real.next_validators)
            case "double":
                return msgspec.structs.replace(
                    real, commit=msgspec.structs.replace(real.commit, signatures=real.commit.signatures * 2)
                )
            case _:
                return real


@settings(max_examples=120, deadline=None)
@given(histories, lies, st.integers(1, HEIGHTS))
def test_every_header_believed_is_on_the_real_chain(
    history: list[tuple[int, dict[int, int], int]], lies: dict[int, str], target: int
) -> None:
    world = world_of(history)
    try:
        trusted, verified, asked = follow(Primary(world, lies), world.genesis, target, NOW_MS)
    except PeerFault:
        assert any(height <= target for height in lies)
        return
    assert trusted.value_id == world.value_id(target)
    assert [trusted_block(block).value_id for block in verified] == [
        world.value_id(block.header.height) for block in verified
    ]
    assert asked <= target


@settings(max_examples=60, deadline=None)
@given(histories, st.integers(1, HEIGHTS), st.integers(1, HEIGHTS))
def test_an_honest_primary_is_always_followed_from_wherever_one_starts(
    history: list[tuple[int, dict[int, int], int]], start: int, target: int
) -> None:
    world = world_of(history)
    start, target = sorted((start, target))
    trusted, _, asked = follow(world.block, trusted_block(world.block(start)), target, NOW_MS)
    assert trusted.value_id == world.value_id(target)
    assert asked <= target - start
