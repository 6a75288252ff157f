"""What a block changed in the validator set, told to people."""

from __future__ import annotations

from p2pfed.chain.state import ChainState
from p2pfed.node.facts import SetChanged, ValidatorJailed
from p2pfed.types.block import Block


def stake_facts(block: Block, after: ChainState) -> tuple[SetChanged | ValidatorJailed, ...]:
    """Return a fact for each validator that `block` jailed, and one where the set of h + 2 is another."""
    height, found = block.header.height, list[SetChanged | ValidatorJailed]()
    for stake in after.ledger.staking.stakes:
        if stake.jailed_at == height:
            found.append(ValidatorJailed(height, stake.key))
    before = {entry.key: entry.power for entry in after.validators.validators}
    coming = {entry.key: entry.power for entry in after.next_validators.validators}
    if before != coming:
        joined = tuple(key for key in coming if key not in before)
        left = tuple(key for key in before if key not in coming)
        total = after.next_validators.total_power
        found.append(SetChanged(height, after.height + 2, joined, left, total))
    return tuple(found)
