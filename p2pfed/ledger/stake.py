"""What one key has at stake: its bond, what waits to be free, and with how much power it voted when."""

from __future__ import annotations

from typing import Annotated

import msgspec

from p2pfed.types.message import Amount, Height, Message, PublicKey
from p2pfed.types.params import (
    ABSENCES_MAX,
    POWER_CHANGES_MAX,
    PRESENCE_HEIGHTS,
    WITHDRAWALS_MAX,
)

# Changes that can't wait come on top: one jail (who is in jail comes back by a voluntary change) and a slash
# of each kind.
POWERS_REMEMBERED_MAX = POWER_CHANGES_MAX + 8
ABSENCES_BYTES = (PRESENCE_HEIGHTS + 7) // 8


class PowerFrom(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The power of a key from a height on, until its next entry; 0: it does not vote."""

    from_height: Height
    power: Amount


class Withdrawal(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Stake that left the bond and voted up to `last_height`: free when no evidence of that height counts."""

    amount: Amount
    last_height: Height


class Stake(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One key.

    bond: At stake, voting or about to. `exiting` of it wants to leave the vote.
    since: The height at which the owner last asked for a change: who asked first is served first.
    jailed_at: The height of the block that jailed it, 0: none.
    absences: A bit for each of the last PRESENCE_HEIGHTS heights, at height mod PRESENCE_HEIGHTS.
    powers: Ascending, as far back as evidence counts.
    withdrawals: Ascending by last height.
    """

    key: PublicKey
    bond: Amount
    exiting: Amount
    since: Height
    jailed_at: Height
    tombstoned: bool
    absences: Annotated[bytes, msgspec.Meta(min_length=ABSENCES_BYTES, max_length=ABSENCES_BYTES)]
    powers: Annotated[tuple[PowerFrom, ...], msgspec.Meta(max_length=POWERS_REMEMBERED_MAX)]
    withdrawals: Annotated[tuple[Withdrawal, ...], msgspec.Meta(max_length=WITHDRAWALS_MAX)]

    @property
    def total(self) -> int:
        """Return all that a slash can reach."""
        return self.bond + sum(withdrawal.amount for withdrawal in self.withdrawals)

    @property
    def power(self) -> int:
        """Return the power in the newest set that is fixed."""
        return self.powers[-1].power if self.powers else 0

    @property
    def is_forgettable(self) -> bool:
        """Answer whether nothing of this stake matters any more."""
        return not (self.total or self.powers or self.tombstoned)

    def power_at(self, height: int) -> int:
        """Return the power with which the key votes at `height`."""
        return next((entry.power for entry in reversed(self.powers) if entry.from_height <= height), 0)


def new_stake(key: bytes) -> Stake:
    """Return the stake of a key that has none yet."""
    return Stake(key, 0, 0, 0, 0, tombstoned=False, absences=bytes(ABSENCES_BYTES), powers=(), withdrawals=())


def slashed(stake: Stake, amount: int) -> tuple[Stake, int]:
    """Return the stake without `amount`, or all there is, and how much was taken: the bond goes first."""
    from_bond = min(amount, stake.bond)
    bond, left = stake.bond - from_bond, amount - from_bond
    withdrawals = []
    for withdrawal in stake.withdrawals:
        taken = min(left, withdrawal.amount)
        left -= taken
        if withdrawal.amount > taken:
            withdrawals.append(msgspec.structs.replace(withdrawal, amount=withdrawal.amount - taken))
    after = msgspec.structs.replace(
        stake, bond=bond, exiting=min(stake.exiting, bond), withdrawals=tuple(withdrawals)
    )
    return after, amount - left


def with_presence(stake: Stake, height: int, *, is_present: bool) -> Stake:
    """Return the stake with the bit of `height` set to whether the key was missing."""
    byte, bit = divmod(height % PRESENCE_HEIGHTS, 8)
    bits = bytearray(stake.absences)
    bits[byte] = bits[byte] & ~(1 << bit) | (not is_present) << bit
    return msgspec.structs.replace(stake, absences=bytes(bits))


def is_absent(stake: Stake) -> bool:
    """Answer whether the key was missing too often."""
    return sum(byte.bit_count() for byte in stake.absences) > ABSENCES_MAX


def with_power(stake: Stake, from_height: int, power: int) -> Stake:
    """Return the stake whose power is `power` from `from_height` on, which is above all that is fixed."""
    assert not stake.powers or stake.powers[-1].from_height < from_height
    return msgspec.structs.replace(stake, powers=(*stake.powers, PowerFrom(from_height, power)))


def with_withdrawal(stake: Stake, amount: int, last_height: int) -> Stake:
    """Return the stake with `amount` of its bond on the way out."""
    waiting = stake.withdrawals
    if len(waiting) == WITHDRAWALS_MAX:
        *waiting_list, youngest = waiting
        waiting = (*waiting_list, Withdrawal(youngest.amount + amount, last_height))
    else:
        waiting = (*waiting, Withdrawal(amount, last_height))
    return msgspec.structs.replace(
        stake,
        bond=stake.bond - amount,
        exiting=max(0, stake.exiting - amount),
        withdrawals=waiting,
    )


def without_past(stake: Stake, oldest: int) -> tuple[Stake, int]:
    """Return the stake without powers of before `oldest`, and how much of it is free now."""
    place = max((i for i, entry in enumerate(stake.powers) if entry.from_height <= oldest), default=0)
    powers = stake.powers[place:]
    if powers and powers[0].power == 0:  # Not the first it ever had, so it is one of before `oldest`.
        powers = powers[1:]
    free = sum(entry.amount for entry in stake.withdrawals if entry.last_height < oldest)
    waiting = tuple(entry for entry in stake.withdrawals if entry.last_height >= oldest)
    return msgspec.structs.replace(stake, powers=powers, withdrawals=waiting), free
