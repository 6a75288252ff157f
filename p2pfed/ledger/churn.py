"""How far the validator set moves in one block: exempt changes at once, all others within a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from p2pfed.ledger.stake import Stake
from p2pfed.types.params import POWER_CHANGES_MAX, VALIDATORS_MAX


def exempt_powers(stakes: Sequence[Stake], bond_min: int, beside: int = 0) -> dict[bytes, int]:
    """Return the power of each key after what can't wait: convictions, jails, and bonds that were slashed.

    A change that would leave nobody is not applied: a dead network helps no one. `beside` is power that
    stays whatever happens to these stakes.
    """
    powers = {
        stake.key: min(stake.power, stake.bond) if may_serve(stake, bond_min) else 0 for stake in stakes
    }
    return powers if beside or any(powers.values()) else {stake.key: stake.power for stake in stakes}


def may_serve(stake: Stake, bond_min: int) -> bool:
    """Answer whether a key may have power at all; who is leaving goes on until all of it has left."""
    is_bonded = stake.bond >= bond_min or stake.exiting > 0
    return is_bonded and not stake.tombstoned and not stake.jailed_at


def moved_powers(
    stakes: Sequence[Stake],
    powers: Mapping[bytes, int],
    bond_min: int,
    added_max: int,
    removed_max: int,
    beside: int = 0,
) -> tuple[dict[bytes, int], int, int]:
    """Return the powers after the changes that owners asked for, and how much was added and removed.

    Who asked first is served first. The VALIDATORS_MAX largest bonds have a seat; a newcomer waits until
    one is free. The last power is not removed.

    Args:
        stakes: Of all who vote, or of all who only train; ascending by key.
        powers: Of each of them, after `exempt_powers`.
        bond_min: Less than this neither votes nor trains.
        added_max: How much power may be added at most.
        removed_max: How much may be removed at most.
        beside: Power that stays whatever happens to these stakes, so that the last of theirs may go.
    """
    moved = dict(powers)
    targets = _targets(stakes, bond_min)
    # A key whose power moved too often within an unbonding period waits, so that little is remembered.
    queue = sorted(
        (stake for stake in stakes if may_serve(stake, bond_min) and len(stake.powers) < POWER_CHANGES_MAX),
        key=lambda stake: (stake.since, stake.key),
    )
    removed = added = 0
    total = sum(moved.values()) + beside
    for stake in queue:
        step = min(moved[stake.key] - targets[stake.key], removed_max - removed)
        if step > 0 and step < total:
            moved[stake.key] -= step
            removed, total = removed + step, total - step
    seats = sum(1 for power in moved.values() if power)
    for stake in queue:
        step = min(targets[stake.key] - moved[stake.key], added_max - added)
        if step > 0 and (moved[stake.key] or seats < VALIDATORS_MAX):
            seats += not moved[stake.key]
            moved[stake.key] += step
            added += step
    return moved, added, removed


def _targets(stakes: Sequence[Stake], bond_min: int) -> dict[bytes, int]:
    """Return the power that each key would have if the set could change at once."""
    wanted = {stake.key: stake.bond - stake.exiting for stake in stakes if may_serve(stake, bond_min)}
    ranked = sorted(wanted, key=lambda key: (-wanted[key], key))
    seated = {key: wanted[key] for key in ranked[:VALIDATORS_MAX] if wanted[key] >= bond_min}
    return dict.fromkeys((stake.key for stake in stakes), 0) | seated
