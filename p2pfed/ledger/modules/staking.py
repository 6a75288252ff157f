"""Stake: who votes now and next, who voted when old evidence was made, and what waits to be free again."""

# The arguments are the contract of a module, used or not.
from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Annotated, assert_never

import msgspec

from p2pfed.errors import InvalidTransaction
from p2pfed.ledger.churn import exempt_powers, may_serve, moved_powers
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
from p2pfed.types.genesis import Role
from p2pfed.types.message import Amount, Height, Message, PublicKey, TimeMs
from p2pfed.types.params import (
    ACTIVATION_HEIGHTS,
    CHURN_DENOMINATOR,
    EPOCH_HEIGHTS,
    JAIL_HEIGHTS,
    MARKS_PER_PERIOD,
    PARTICIPANTS_MAX,
)
from p2pfed.types.validators import Validator, ValidatorSet

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


class Roles(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Who does one of the two only, by genesis and for good: keys ascending, with or without a stake.

    epoch: With the power of all who train; only who has no vote moves by it.
    """

    trainers: Annotated[tuple[PublicKey, ...], msgspec.Meta(max_length=PARTICIPANTS_MAX)]
    validators: Annotated[tuple[PublicKey, ...], msgspec.Meta(max_length=PARTICIPANTS_MAX)]
    epoch: Epoch


class StakingState(Message, frozen=True, array_like=True, forbid_unknown_fields=True, dict=True):
    """Stakes in ascending order of key. Evidence of heights below `oldest` does not count any more.

    `present` is whom this block shows alive; it is empty between blocks. `roles` is None where all do both.
    """

    stakes: Annotated[tuple[Stake, ...], msgspec.Meta(min_length=1, max_length=PARTICIPANTS_MAX)]
    present: Annotated[tuple[PublicKey, ...], msgspec.Meta(max_length=PARTICIPANTS_MAX)]
    oldest: Height
    marks: Annotated[tuple[Mark, ...], msgspec.Meta(max_length=MARKS_MAX)]
    epoch: Epoch
    roles: Roles | None = None

    @cached_property
    def _sets(self) -> dict[int, tuple[ValidatorSet, tuple[Validator, ...]]]:
        return {}

    @cached_property
    def only_train(self) -> frozenset[bytes]:
        """The keys whose stake has no vote."""
        return frozenset(self.roles.trainers) if self.roles else frozenset()

    @cached_property
    def only_vote(self) -> frozenset[bytes]:
        """The keys that send no updates."""
        return frozenset(self.roles.validators) if self.roles else frozenset()

    def role_of(self, key: bytes) -> Role:
        """Return what the stake of `key` is for, whether it has any or not."""
        return "trainer" if key in self.only_train else "validator" if key in self.only_vote else "both"

    @property
    def total(self) -> int:
        """Return all that is at stake."""
        return sum(stake.total for stake in self.stakes)

    def stake(self, key: bytes) -> Stake | None:
        """Return the stake of `key`, or None."""
        return next((stake for stake in self.stakes if stake.key == key), None)

    def validators_at(self, height: int) -> ValidatorSet | None:
        """Return the set that votes at `height`, None where it is forgotten."""
        return None if height < self.oldest else self._sets_at(height)[0]

    def members_at(self, height: int) -> tuple[Validator, ...] | None:
        """Return who has power at `height`, to vote or to train, ascending; None where it is forgotten."""
        return None if height < self.oldest else self._sets_at(height)[1]

    def _sets_at(self, height: int) -> tuple[ValidatorSet, tuple[Validator, ...]]:
        if height not in self._sets:
            if len(self._sets) >= SETS_AT_HAND_MAX:
                self._sets.clear()
            powers = ((stake.key, stake.power_at(height)) for stake in self.stakes)
            members = tuple(Validator(key, power) for key, power in powers if power)
            voters = (member for member in members if member.key not in self.only_train)
            self._sets[height] = ValidatorSet(tuple(voters)), members
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
    stakes, height = _with_presence(context, state), context.height
    voting = [stake for stake in stakes if stake.key not in state.only_train]
    powers, epoch = _moved(voting, _epoch(state, state.epoch, state.only_train, height), context)
    roles = state.roles
    if roles is not None:
        training = [stake for stake in stakes if stake.key in state.only_train]
        beside = sum(powers.values())
        more, moved = _moved(training, _epoch(state, roles.epoch, state.only_vote, height), context, beside)
        powers, roles = powers | more, Roles(roles.trainers, roles.validators, moved)
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
    return StakingState(tuple(kept), (), oldest, marks, epoch, roles), tuple(calls)


def leaves(state: StakingState) -> Iterator[tuple[bytes, bytes]]:
    """Yield one leaf a stake under its key, and the rest by name."""
    yield b"present", codec.encode(state.present)
    yield b"oldest", codec.encode(state.oldest)
    yield b"marks", codec.encode(state.marks)
    yield b"epoch", codec.encode(state.epoch)
    if state.roles is not None:
        yield b"roles", codec.encode(state.roles)
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

    The last one that could vote is not: a jail that would leave nobody helps no one. Who has no vote holds
    nobody up and is never missing.
    """
    height, bond_min = context.height, context.params.bond_min
    present = frozenset(state.present) | state.only_train
    stakes = [
        with_presence(stake, height, is_present=stake.key in present) if stake.power_at(height) else stake
        for stake in state.stakes
    ]
    voting = sum(
        1 for one in stakes if may_serve(one, bond_min) and one.power and one.key not in state.only_train
    )
    for place, stake in enumerate(stakes):
        if is_absent(stake) and may_serve(stake, bond_min) and voting > 1:
            # Its power goes when this block ends, and its absences with it (`_settled`).
            stakes[place] = msgspec.structs.replace(stake, jailed_at=height)
            voting -= 1
    return tuple(stakes)


def _moved(
    stakes: Sequence[Stake], epoch: Epoch, context: Context, beside: int = 0
) -> tuple[dict[bytes, int], Epoch]:
    """Return the new power of each of these stakes, and what the epoch has moved with them."""
    bond_min, budget = context.params.bond_min, max(1, epoch.power // CHURN_DENOMINATOR)
    powers, added, removed = moved_powers(
        stakes,
        exempt_powers(stakes, bond_min, beside),
        bond_min,
        budget - epoch.added,
        budget - epoch.removed,
        beside,
    )
    return powers, Epoch(epoch.power, epoch.added + added, epoch.removed + removed)


def _epoch(state: StakingState, epoch: Epoch, without: frozenset[bytes], height: int) -> Epoch:
    """Return `epoch`, or a new one that begins with the power of all but the keys in `without`."""
    if (height - 1) % EPOCH_HEIGHTS:
        return epoch
    return Epoch(sum(stake.power for stake in state.stakes if stake.key not in without), 0, 0)


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
