"""Who proposes."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from support.consensus import CHAIN_ID, Committee

from p2pfed.consensus.proposer import proposer_index, proposer_table
from p2pfed.primitives.digest import sha256, tagged
from p2pfed.types.params import PROPOSER_TABLE_MAX
from p2pfed.types.validators import ValidatorSet, validator_set


def made_of(powers: list[int]) -> ValidatorSet:
    return validator_set((b"\x02" + sha256(bytes([i])), power) for i, power in enumerate(powers))


def test_equal_powers_take_turns_in_the_order_of_their_slot_digest() -> None:
    validators = Committee().validators
    table = proposer_table(validators, CHAIN_ID)
    by_digest = sorted(range(4), key=lambda i: tagged("slot", CHAIN_ID + validators.validators[i].key))
    assert table == tuple(by_digest) * 4


def test_turns_are_spread_in_proportion_to_power() -> None:
    validators = made_of([5, 1, 1, 1])
    table = proposer_table(validators, CHAIN_ID)
    counts = Counter(table)
    for index, validator in enumerate(validators.validators):
        assert counts[index] == validator.power * len(table) // 8
    rich = next(i for i, v in enumerate(validators.validators) if v.power == 5)
    runs = "".join("r" if index == rich else "." for index in table)
    assert "rrr" not in runs  # Smooth: never the five turns in a row.
    assert ".." not in runs


@given(st.lists(st.integers(1, 1 << 50), min_size=1, max_size=12))
def test_nobody_gets_a_turn_more_or_less_than_its_share(powers: list[int]) -> None:
    validators = made_of(powers)
    table = proposer_table(validators, CHAIN_ID)
    counts, total = Counter(table), validators.total_power
    assert len(table) == 4 * len(powers)
    for index, validator in enumerate(validators.validators):
        assert abs(counts[index] * total - validator.power * len(table)) < len(powers) * total


def test_the_next_round_and_the_next_height_move_one_slot_on_and_wrap_around() -> None:
    validators = Committee().validators
    table = proposer_table(validators, CHAIN_ID)
    for height in range(1, 20):
        for round_ in range(20):
            assert proposer_index(validators, CHAIN_ID, height, round_) == table[(height + round_) % 16]


def test_the_table_of_many_validators_is_bounded() -> None:
    validators = validator_set((b"\x02" + sha256(bytes([i % 256, i // 256])), 1) for i in range(300))
    assert len(proposer_table(validators, CHAIN_ID)) == PROPOSER_TABLE_MAX


def test_another_chain_orders_equals_differently() -> None:
    validators = made_of([1] * 12)
    assert proposer_table(validators, CHAIN_ID) != proposer_table(validators, sha256(b"other"))
