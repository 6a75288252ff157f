"""A validator set has one order, so a validator has one index."""

from __future__ import annotations

from p2pfed.primitives.keys import PrivateKey
from p2pfed.types.validators import validator_set

KEYS = [PrivateKey(bytes([number]) * 32).public for number in range(1, 5)]


def test_any_order_of_members_makes_the_same_set() -> None:
    pairs = [(key, place + 1) for place, key in enumerate(KEYS)]
    one, other = validator_set(pairs), validator_set(reversed(pairs))
    assert one == other
    assert one.hash == other.hash
    assert [validator.key for validator in one.validators] == sorted(KEYS)


def test_power_and_index_are_those_of_the_key() -> None:
    validators = validator_set([(key, 10 * (place + 1)) for place, key in enumerate(KEYS)])
    assert validators.total_power == 100
    for place, key in enumerate(KEYS):
        index = validators.index_of(key)
        assert index is not None
        assert validators.power_of([index]) == 10 * (place + 1)
    assert validators.index_of(b"\x02" * 33) is None


def test_another_power_makes_another_hash() -> None:
    assert validator_set([(KEYS[0], 1)]).hash != validator_set([(KEYS[0], 2)]).hash
