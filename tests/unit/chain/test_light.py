"""The light client's machine against chains whose sets change, end, are forged and are mistyped."""

from __future__ import annotations

from itertools import chain as joined
from itertools import combinations, product
from typing import Any

import msgspec
import pytest
from support.chain import make_genesis
from support.light import (
    CHAIN_ID,
    DAY_MS,
    RULES,
    START_MS,
    LightChain,
    certified,
    follow,
    member,
    powers_to_set,
)

from p2pfed.chain.light import (
    CheckpointConflict,
    Rules,
    Search,
    Trusted,
    TrustExpired,
    is_near,
    rules_of,
    tell,
    trusted_block,
    trusted_checkpoint,
    trusted_genesis,
)
from p2pfed.consensus.quorum import has_honest_voice, has_quorum
from p2pfed.errors import InvalidCertificate, InvalidLightBlock, PeerFault
from p2pfed.types.light import LightBlock
from p2pfed.types.params import CLOCK_DRIFT_MS
from p2pfed.types.validators import ValidatorSet

FOUR = [(number, 1) for number in range(4)]
STEADY = LightChain(lambda height: FOUR)
NOW_MS = START_MS + 20_000


def test_a_million_heights_without_a_set_change_take_one_header() -> None:
    steady = LightChain(lambda height: FOUR, step_ms=10, is_linked=False)
    trusted, verified, asked = follow(steady.block, steady.genesis, 1_000_000, START_MS + 10_000_000)
    assert (trusted.height, len(verified), asked) == (1_000_000, 1, 1)


def test_sets_that_share_nobody_take_every_header_once() -> None:
    changing = LightChain(lambda height: [(height, 1)])
    trusted, verified, asked = follow(changing.block, changing.genesis, 100, START_MS + 100_000)
    assert [block.header.height for block in verified] == list(range(1, 101))
    assert (trusted.value_id, asked) == (changing.value_id(100), 100)


def test_a_set_that_changes_slowly_is_skipped_over_as_far_as_more_than_a_third_is_left() -> None:
    changing = LightChain(lambda height: [(height + place, 1) for place in range(10)])
    _, verified, asked = follow(changing.block, changing.genesis, 100, START_MS + 100_000)
    steps = [block.header.height for block in verified]
    assert all(high - low <= 7 for low, high in zip([0, *steps], steps, strict=False))  # 4 of 10 are left.
    assert asked < 40


@pytest.mark.parametrize(("known", "is_enough"), [(2, False), (3, True)], ids=["exactly a third", "one more"])
def test_exactly_a_third_of_the_trusted_set_is_not_enough_to_skip(known: int, is_enough: bool) -> None:
    trusted = Trusted(0, START_MS, bytes(32), powers_to_set([(number, 1) for number in range(6)]))
    later = LightChain(lambda height: [(number, 1) for number in range(known)])
    assert is_near(trusted, later.block(5)) is is_enough


def test_power_counts_in_the_trusted_set_and_only_that_of_who_signed() -> None:
    trusted = Trusted(0, START_MS, bytes(32), powers_to_set([(0, 1), (1, 5)]))
    later = LightChain(lambda height: [(0, 100), (1, 1), (2, 100)])
    assert not is_near(trusted, later.block(5, signers=(0, 2)))
    assert is_near(trusted, later.block(5, signers=(0, 1)))


def test_the_next_block_is_judged_at_once_whoever_signed_it() -> None:
    """There is no block between, by which one might come nearer."""
    block = STEADY.block(1, signers=(0,))
    assert is_near(STEADY.genesis, block)
    with pytest.raises(InvalidCertificate):
        told(block)


def told(block: LightBlock, trusted: Trusted = STEADY.genesis, now_ms: int = NOW_MS) -> Search:
    height = block.header.height
    return tell(Search(trusted, height), block, RULES, now_ms)[0]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"chain_id": bytes(32)}, f"chain_id is {bytes(32).hex()} where {CHAIN_ID.hex()}"),
        ({"validators_hash": bytes(32)}, "validators_hash is 0000"),
        ({"next_validators_hash": bytes(32)}, "next_validators_hash is 0000"),
        ({"time_ms": START_MS}, f"from {START_MS} ms, not after {START_MS} ms of block 0"),
        ({"time_ms": NOW_MS + CLOCK_DRIFT_MS + 1}, f"more than {CLOCK_DRIFT_MS} ms after {NOW_MS} ms"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_header_that_cant_be_of_this_chain_is_refused_with_the_values_that_disagree(
    changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InvalidLightBlock, match=sentence):
        told(STEADY.block(9, **changes))


def test_a_header_may_be_as_far_ahead_as_clocks_drift() -> None:
    assert told(STEADY.block(9, time_ms=NOW_MS + CLOCK_DRIFT_MS)).wanted is None


@pytest.mark.parametrize("change", ["height", "value_id"])
def test_a_certificate_of_another_block_is_refused(change: str) -> None:
    block = STEADY.block(9)
    commit = msgspec.structs.replace(block.commit, **{change: {"height": 8, "value_id": bytes(32)}[change]})
    with pytest.raises(InvalidLightBlock, match="of the certificate is"):
        told(msgspec.structs.replace(block, commit=commit))


def test_another_height_than_was_asked_for_is_refused() -> None:
    with pytest.raises(InvalidLightBlock, match="height is 8 where 9"):
        tell(Search(STEADY.genesis, 9), STEADY.block(8), RULES, NOW_MS)


def test_two_of_four_are_no_quorum_though_they_are_a_voice() -> None:
    with pytest.raises(InvalidCertificate, match="2 of 4"):
        told(STEADY.block(9, signers=(0, 1)))


def test_one_false_signature_spoils_a_certificate() -> None:
    block = STEADY.block(9)
    first, second, *rest = block.commit.signatures
    commit = msgspec.structs.replace(block.commit, signatures=(second, first, *rest))
    with pytest.raises(InvalidCertificate, match="does not verify"):
        told(msgspec.structs.replace(block, commit=commit))


def test_a_bitmap_of_another_size_is_refused() -> None:
    block = STEADY.block(9)
    with pytest.raises(InvalidLightBlock, match="bitmap of 2 bytes"):
        told(msgspec.structs.replace(block, commit=msgspec.structs.replace(block.commit, bitmap=b"\x0f\0")))


def test_a_key_that_stands_twice_in_a_set_does_not_count_twice() -> None:
    """One liar of four, listed many times, would pass for more than a third of the trusted set."""
    liar = STEADY.validators(1).validators[0]
    twice = ValidatorSet((liar,) * 4)
    number = next(number for number, _ in FOUR if member(number).public == liar.key)
    header = STEADY.header(9, validators_hash=twice.hash, model_root=bytes(32))
    honest = certified(header, [(number, 1)], STEADY.validators(10))
    commit = msgspec.structs.replace(honest.commit, bitmap=b"\x0f", signatures=honest.commit.signatures * 4)
    with pytest.raises(InvalidLightBlock, match="ascending order"):
        told(LightBlock(header, commit, twice, STEADY.validators(10)))


def test_the_next_block_needs_the_very_set_and_parent_that_were_announced() -> None:
    other = LightChain(lambda height: [(number, 1) for number in range(5)])
    with pytest.raises(InvalidLightBlock, match=r"validators_hash is .* where .* is expected"):
        told(other.block(1))
    with pytest.raises(InvalidLightBlock, match="prev_header_hash is"):
        told(STEADY.block(1, prev_header_hash=bytes([1]) * 32))


def test_nothing_is_believed_once_the_trusting_period_is_over() -> None:
    over_ms = START_MS + RULES.trusting_ms
    assert told(STEADY.block(9), now_ms=over_ms - 1).trusted.height == 9
    sentence = rf"genesis is 48 h old \({START_MS} ms, now {over_ms} ms\) and can be trusted for 48 h"
    with pytest.raises(TrustExpired, match=sentence):
        told(STEADY.block(9), now_ms=over_ms)


def test_the_trusting_period_is_two_thirds_of_the_unbonding_period() -> None:
    genesis = make_genesis([1, 1, 1, 1])
    assert rules_of(genesis) == Rules(genesis.chain_id, 14 * DAY_MS // 3, genesis.params_hash)
    assert trusted_genesis(genesis) == Trusted(0, genesis.time_ms, bytes(32), genesis.validators)


def test_a_checkpoint_is_a_start_like_any_other() -> None:
    at = trusted_checkpoint(STEADY.block(5), 5, STEADY.value_id(5), RULES, NOW_MS)
    assert at == trusted_block(STEADY.block(5))
    assert follow(STEADY.block, at, 9, NOW_MS)[0].value_id == STEADY.value_id(9)


def test_a_checkpoint_that_the_chain_contradicts_is_fatal_and_both_hashes_are_named() -> None:
    real, named = STEADY.value_id(5), STEADY.value_id(6)
    with pytest.raises(CheckpointConflict, match=f"5 is {real.hex()}, --checkpoint says {named.hex()}"):
        trusted_checkpoint(STEADY.block(5), 5, named, RULES, NOW_MS)


def test_a_checkpoint_without_a_quorum_or_older_than_the_trusting_period_is_refused() -> None:
    with pytest.raises(InvalidCertificate):
        trusted_checkpoint(STEADY.block(5, signers=(0, 1)), 5, STEADY.value_id(5), RULES, NOW_MS)
    with pytest.raises(TrustExpired, match="the block of height 5 is 71 h old"):
        trusted_checkpoint(STEADY.block(5), 5, STEADY.value_id(5), RULES, START_MS + 3 * DAY_MS)


def test_a_copy_of_a_checkpoint_with_other_validators_after_it_is_refused() -> None:
    """Its hash and certificate are good; what would judge all later blocks is not what it commits to."""
    forged = msgspec.structs.replace(STEADY.block(5), next_validators=powers_to_set([(9, 1)]))
    with pytest.raises(InvalidLightBlock, match="next_validators_hash"):
        trusted_checkpoint(forged, 5, STEADY.value_id(5), RULES, NOW_MS)


def subsets(items: tuple[int, ...]) -> list[tuple[int, ...]]:
    return [*joined.from_iterable(combinations(items, size) for size in range(1, len(items) + 1))]


def test_every_small_world_of_set_changes_is_followed_to_its_end() -> None:
    """All rows of four sets over three validators: the end is reached, by headers of the chain, each once."""
    for sets in product(subsets((0, 1, 2)), repeat=4):
        world = LightChain(lambda height, sets=sets: [(number, 1) for number in sets[height - 1]])  # type: ignore[misc]
        trusted, verified, asked = follow(world.block, world.genesis, 3, NOW_MS)
        assert trusted.value_id == world.value_id(3)
        assert [block.header.value_id for block in verified] == [
            world.value_id(block.header.height) for block in verified
        ]
        assert asked <= 3


def test_in_every_small_world_who_holds_a_third_or_less_is_not_believed() -> None:
    """All powers 1-3 of three validators, all coalitions, all sets that they and a stranger may claim."""
    stranger, count = 3, 0
    for powers in product((1, 2, 3), repeat=3):
        trusted = Trusted(0, START_MS, bytes(32), powers_to_set(list(enumerate(powers))))
        for liars, claimed in product(subsets((0, 1, 2)), subsets((0, 1, 2, stranger))):
            held = sum(powers[liar] for liar in liars)
            claim = [(number, 1) for number in claimed]
            signers = [number for number in claimed if number in liars or number == stranger]
            header = STEADY.header(9, validators_hash=powers_to_set(claim).hash)
            block = certified(header, claim, STEADY.validators(10), signers)
            try:
                believed = told(block, trusted).trusted.height == 9
            except PeerFault:
                believed = False
            heard = sum(powers[liar] for liar in liars if liar in claimed)
            assert believed == (
                has_honest_voice(heard, sum(powers)) and has_quorum(len(signers), len(claimed))
            )
            assert not believed or has_honest_voice(held, sum(powers))
            count += believed
    assert count > 0
