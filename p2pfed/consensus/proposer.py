"""Who proposes: a smooth weighted round robin that anyone can recompute from the validator set."""

from __future__ import annotations

from functools import lru_cache

from p2pfed.primitives.digest import tagged
from p2pfed.types.params import PROPOSER_TABLE_MAX
from p2pfed.types.validators import ValidatorSet

_PICKS_PER_VALIDATOR = 4  # Four turns each where powers are equal; enough to show a 4:1 difference of stake.


@lru_cache(maxsize=16)
def proposer_table(validators: ValidatorSet, seed: bytes) -> tuple[int, ...]:
    """Return the validator index of each slot; `seed` (the chain id) only breaks ties.

    Each pick gives every validator its power as credit, takes the richest, and charges it the total.
    A shuffled table would make long runs of dead proposers; this one spreads each validator's turns.

    Bounds:
        A credit stays within +- total power <= 2^60.
    """
    count, total = len(validators), validators.total_power
    slots = [tagged("slot", seed + validator.key) for validator in validators.validators]
    credit_of = [0] * count
    picks = []
    for _ in range(min(PROPOSER_TABLE_MAX, _PICKS_PER_VALIDATOR * count)):
        for index, validator in enumerate(validators.validators):
            credit_of[index] += validator.power
        chosen = min(range(count), key=lambda index: (-credit_of[index], slots[index]))
        credit_of[chosen] -= total
        picks.append(chosen)
    return tuple(picks)


def proposer_index(validators: ValidatorSet, seed: bytes, height: int, round: int) -> int:  # noqa: A002
    """Return the index of the proposer of (height, round)."""
    table = proposer_table(validators, seed)
    return table[(height + round) % len(table)]
