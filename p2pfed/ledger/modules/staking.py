"""Stake: who votes now and next, who voted when old evidence was made, and what waits to be free again."""

# The arguments are the contract of a module, used or not.
from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, assert_never

import msgspec

from p2pfed.errors import InvalidTransaction
from p2pfed.ledger.churn import exempt_powers, may_vote, moved_powers
from p2pfed.ledger.module import (
    AddBond,
    AskExit,
    Burn,
    Context,
    Credit,
    Expire,
    Payload,
    Present,
    Release,
    Slash,
    Tombstone,
)
from p2pfed.ledger.stake import (
    ABSENCES_BYTES,
    Stake,
    is_absent,
    new_stake,
    slashed,
    with_power,
    with_presence,
    with_withdrawal,
    without_past,
)
from p2pfed.primitives import codec
from p2pfed.types.message import Amount, Height, Message, PublicKey, TimeMs
from p2pfed.types.params import (
    ACTIVATION_HEIGHTS,
    CHURN_DENOMINATOR,
    EPOCH_HEIGHTS,
    JAIL_HEIGHTS,
    MARKS_PER_PERIOD,
    PARTICIPANTS_MAX,
)
from p2pfed.types.validators import ValidatorSet, validator_set

name = "staking"

SETS_AT_HAND_MAX = 8  # A block needs four; whoever sends old evidence must not fill the memory with sets.
MARKS_MAX = 2 * MARKS_PER_PERIOD + 2  # Small periods don't divide by 64 without a rest.


class Mark(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The time of a block that is final: how old evidence is."""

    height: Height
    time_ms: TimeMs


class Epoch(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The power at the start of the epoch, and how much was added and removed in it so far."""

    power: Amount
    added: Amount
    removed: Amount


class StakingState(Message, frozen=True, array_like=True, forbid_unknown_fields=True, dict=True):
    """Stakes in ascending order of key. Evidence of heights below `oldest` does not count any more.

    `present` is whom this block shows alive; it is empty between blocks.
    """

    stakes: Annotated[tuple[Stake, ...], msgspec.Meta(min_length=1, max_length=PARTICIPANTS_MAX)]
    present: Annotated[tuple[PublicKey, ...], msgspec.Meta(max_length=PARTICIPANTS_MAX)]
    oldest: Height
    marks: Annotated[tuple[Mark, ...], msgspec.Meta(max_length=MARKS_MAX)]
    epoch: Epoch

    @cached_property
    def _sets(self) -> dict[int, ValidatorSet]:
        return {}

    @property
    def total(self) -> int:
        """Return all that is at stake."""
        return sum(stake.total for stake in self.stakes)

    def stake(self, key: bytes) -> Stake | None:
        """Return the stake of `key`, or None."""
        return next((stake for stake in self.stakes if stake.key == key), None)

    def validators_at(self, height: int) -> ValidatorSet | None:
        """Return the set that votes at `height`, None where it is forgotten."""
        if height < self.oldest:
            return None
        if height not in self._sets:
            if len(self._sets) >= SETS_AT_HAND_MAX:
                self._sets.clear()
            powers = ((stake.key, stake.power_at(height)) for stake in self.stakes)
            self._sets[height] = validator_set((key, power) for key, power in powers if power)
        return self._sets[height]


def execute(
    payload: AddBond | AskExit | Release | Slash | Tombstone | Present, context: Context, state: StakingState
) -> tuple[StakingState, tuple[Payload, ...]]:
    """Change what one key has at stake; the set changes when the block ends."""
    match payload:
        case AddBond():
            return _add_bond(payload, context, state), ()
        case AskExit():
            return _ask_exit(payload, context, state), ()
        case Release():
            return _release(payload, context, state), ()
        case Slash():
            stake, burned = slashed(_known(state, payload.key), payload.amount)
            return _with_stake(state, stake), (Burn(burned),)
        case Tombstone():
            stake = msgspec.structs.replace(_known(state, payload.key), tombstoned=True)
            return _with_stake(state, stake), ()
        case Present():
            return msgspec.structs.replace(state, present=tuple(sorted(payload.keys))), ()
        case _:
            assert_never(payload)


def end_block(context: Context, state: StakingState) -> tuple[StakingState, tuple[Payload, ...]]:
    """Jail who is missing, fix the set of `height + 2`, and free what no evidence can reach any more."""
    stakes = _with_presence(context, state)
    epoch = _epoch(context, state)
    bond_min, height = context.params.bond_min, context.height
    budget = max(1, epoch.power // CHURN_DENOMINATOR)
    powers, added, removed = moved_powers(
        stakes,
        exempt_powers(stakes, bond_min),
        bond_min,
        budget - epoch.added,
        budget - epoch.removed,
    )
    epoch = Epoch(epoch.power, epoch.added + added, epoch.removed + removed)
    marks, oldest = _aged(context, state)
    kept, calls = [], list[Payload]()
    for stake in stakes:
        stake = _settled(stake, powers[stake.key], height)
        stake, free = without_past(stake, oldest)
        if free:
            calls.append(Credit(stake.key, free))
        if not stake.is_forgettable:
            kept.append(stake)
    if oldest != state.oldest:
        calls.append(Expire(oldest))
    return StakingState(tuple(kept), (), oldest, marks, epoch), tuple(calls)


def leaves(state: StakingState) -> Iterator[tuple[bytes, bytes]]:
    """Yield one leaf a stake under its key, and the rest by name."""
    yield b"present", codec.encode(state.present)
    yield b"oldest", codec.encode(state.oldest)
    yield b"marks", codec.encode(state.marks)
    yield b"epoch", codec.encode(state.epoch)
    for stake in state.stakes:
        yield stake.key, codec.encode(stake)


def _add_bond(payload: AddBond, context: Context, state: StakingState) -> StakingState:
    stake = state.stake(payload.key) or new_stake(payload.key)
    bond, least = stake.bond + payload.amount, context.params.bond_min
    if payload.amount == 0:
        raise InvalidTransaction("a bond of nothing")
    if stake.tombstoned:
        raise InvalidTransaction(f"{payload.key.hex()[:12]}… lied about its votes and never votes again")
    if bond < least:
        raise InvalidTransaction(f"a bond of {bond}; at least {least} is needed")
    return _with_stake(state, msgspec.structs.replace(stake, bond=bond, since=context.height))


def _ask_exit(payload: AskExit, context: Context, state: StakingState) -> StakingState:
    stake, least = state.stake(payload.key) or new_stake(payload.key), context.params.bond_min
    left = stake.bond - stake.exiting - payload.amount
    if payload.amount == 0:
        raise InvalidTransaction("an unbond of nothing")
    if left < 0:
        raise InvalidTransaction(
            f"to unbond {payload.amount} where {stake.bond - stake.exiting} is bonded and not leaving yet"
        )
    if 0 < left < least and not stake.tombstoned:
        raise InvalidTransaction(f"{left} would stay bonded; leave {least} or more, or nothing")
    exiting = stake.exiting + payload.amount
    return _with_stake(state, msgspec.structs.replace(stake, exiting=exiting, since=context.height))


def _release(payload: Release, context: Context, state: StakingState) -> StakingState:
    stake = state.stake(payload.key) or new_stake(payload.key)
    if not stake.jailed_at:
        raise InvalidTransaction(f"{payload.key.hex()[:12]}… is not in jail")
    if context.height < stake.jailed_at + JAIL_HEIGHTS:
        raise InvalidTransaction(
            f"jailed by block {stake.jailed_at}; block {stake.jailed_at + JAIL_HEIGHTS} may end it, "
            f"this is {context.height}"
        )
    return _with_stake(state, msgspec.structs.replace(stake, jailed_at=0, since=context.height))


def _with_presence(context: Context, state: StakingState) -> tuple[Stake, ...]:
    """Return the stakes with the signs of life of this block; who was missing too often is jailed.

    The last one that could vote is not: a jail that would leave nobody helps no one.
    """
    height, bond_min = context.height, context.params.bond_min
    present = frozenset(state.present)
    stakes = [
        with_presence(stake, height, is_present=stake.key in present) if stake.power_at(height) else stake
        for stake in state.stakes
    ]
    voting = sum(1 for stake in stakes if may_vote(stake, bond_min) and stake.power)
    for place, stake in enumerate(stakes):
        if is_absent(stake) and may_vote(stake, bond_min) and voting > 1:
            # Its power goes when this block ends, and its absences with it (`_settled`).
            stakes[place] = msgspec.structs.replace(stake, jailed_at=height)
            voting -= 1
    return tuple(stakes)


def _epoch(context: Context, state: StakingState) -> Epoch:
    if (context.height - 1) % EPOCH_HEIGHTS:
        return state.epoch
    return Epoch(sum(stake.power for stake in state.stakes), 0, 0)


def _settled(stake: Stake, power: int, height: int) -> Stake:
    """Return the stake with its new power; what wants to leave and votes no more is on its way out."""
    if power != stake.power:
        stake = with_power(stake, height + ACTIVATION_HEIGHTS, power)
    if not power:
        stake = msgspec.structs.replace(stake, absences=bytes(ABSENCES_BYTES))  # It begins anew some day.
    leaving = stake.bond - max(power, stake.bond - stake.exiting)
    return with_withdrawal(stake, leaving, height + ACTIVATION_HEIGHTS - 1) if leaving > 0 else stake


def _aged(context: Context, state: StakingState) -> tuple[tuple[Mark, ...], int]:
    """Return the marks after this block, and the oldest height whose evidence the next one may carry.

    Evidence expires when both periods are over. Times are known of some blocks only, so it lives up to a
    64th longer than it must, and never shorter.
    """
    period_ms, period = context.params.unbonding_ms, context.params.unbonding_heights
    marks = state.marks
    is_due = not marks or (
        context.height - marks[-1].height >= max(1, period // MARKS_PER_PERIOD)
        and context.time_ms - marks[-1].time_ms >= period_ms // MARKS_PER_PERIOD
    )
    if is_due:
        marks = (*marks, Mark(context.height, context.time_ms))
    over = [
        mark.height
        for mark in marks
        if mark.height <= context.height - period and mark.time_ms <= context.time_ms - period_ms
    ]
    if not over:
        return marks, state.oldest
    return tuple(mark for mark in marks if mark.height > over[-1]), over[-1] + 1


def _known(state: StakingState, key: bytes) -> Stake:
    """Return the stake of a culprit: it is remembered as long as evidence against it counts."""
    stake = state.stake(key)
    assert stake is not None
    return stake


def _with_stake(state: StakingState, changed: Stake) -> StakingState:
    others = [stake for stake in state.stakes if stake.key != changed.key]
    stakes = tuple(sorted((*others, changed), key=lambda stake: stake.key))
    return msgspec.structs.replace(state, stakes=stakes)
