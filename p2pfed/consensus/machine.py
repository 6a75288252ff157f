"""The voting rules of one height as a pure function: a state and a fact give a state and what to do.

Each branch cites its rule in docs/spec/consensus.md. The facts (tallies, verdicts) are gathered by `engine`,
which offers them again after every input, so a branch that is too early says nothing and loses nothing.
Every rule that fires changes the state; that is how the engine knows when none fires any more.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any, final

from msgspec import Struct
from msgspec.structs import replace

from p2pfed.consensus.io import (
    Decided,
    LeaveCollect,
    NewRound,
    PublishCommit,
    PublishPolka,
    SafetyViolated,
    SendPrecommit,
    SendPrevote,
    TimeoutFired,
    TimeoutKind,
)
from p2pfed.types.block import Header
from p2pfed.types.certificate import CommitCert, PolkaCert


class Step(IntEnum):
    """Where a round stands."""

    COLLECT = 0
    PROPOSE = 1
    PREVOTE = 2
    PRECOMMIT = 3


class State(Struct, frozen=True):
    """What a validator remembers of a height. `has_*_timer`: U3, U6 fired in this round."""

    round: int = -1
    step: Step = Step.COLLECT
    locked_round: int = -1
    locked_value: bytes | None = None
    valid_round: int = -1
    valid_value: bytes | None = None
    has_prevote_timer: bool = False
    has_precommit_timer: bool = False
    is_leaving: bool = False  # We asked to leave COLLECT.
    decided: CommitCert | None = None
    decided_is_valid: bool | None = None
    is_violated: bool = False

    def is_lock_free(self, valid_round: int) -> bool:
        """Answer okLock: may we prevote a value of this valid round? Equal values are no way around it."""
        return self.locked_round <= valid_round


class CollectLeft(Struct, frozen=True):
    """C1: our AVAIL is signed; `round` is the one to start."""

    round: int


class ProposalSeen(Struct, frozen=True):
    """The proposal of the current round.

    is_fresh: header.round0 and header.proposer are those of this round (asked of valid round -1 only).
    has_polka: a polka for the value in `valid_round` is held (asked of others only).
    is_valid: the verdict on the value, None while unknown.
    """

    value_id: bytes
    valid_round: int
    is_fresh: bool
    has_polka: bool
    is_valid: bool | None


class PrevotesSeen(Struct, frozen=True):
    """A quorum prevoted anything in the current round."""


class PolkaSeen(Struct, frozen=True):
    """A polka of the current round for its proposal, same valid round, and the value is valid."""

    cert: PolkaCert
    header: Header


class LatePolkaSeen(Struct, frozen=True):
    """A polka of any round whose value is valid and whose header is known."""

    cert: PolkaCert


class NilPolkaSeen(Struct, frozen=True):
    """A quorum prevoted nil in the current round."""


class PrecommitsSeen(Struct, frozen=True):
    """A quorum precommitted anything in the current round."""


class CommitSeen(Struct, frozen=True):
    """A quorum precommitted one value in any round; `is_valid` None while its check is not done."""

    cert: CommitCert
    is_valid: bool | None


class RoundAhead(Struct, frozen=True):
    """More than a third voted in `round`, the largest such one."""

    round: int


Event = (
    CollectLeft
    | ProposalSeen
    | PrevotesSeen
    | PolkaSeen
    | LatePolkaSeen
    | NilPolkaSeen
    | PrecommitsSeen
    | CommitSeen
    | RoundAhead
    | TimeoutFired
)


@final
class StartTimer(Struct, frozen=True):
    """Schedule this timeout of the current round; the engine knows how long."""

    kind: TimeoutKind


Action = (
    NewRound
    | LeaveCollect
    | StartTimer
    | SendPrevote
    | SendPrecommit
    | PublishPolka
    | PublishCommit
    | Decided
    | SafetyViolated
)
Result = tuple[State, tuple[Action, ...]]


def apply(state: State, event: Event) -> Result:
    """Return the state after `event` and what to do about it; the same state where no rule fires."""
    kind = type(event)
    if state.decided is not None and kind is not CommitSeen:
        return state, ()  # U7': no vote once the height is decided.
    if state.step is Step.COLLECT and kind not in _IN_COLLECT:
        return state, ()  # C0: stored by the engine; no vote and no timer before AVAIL is signed.
    return _RULES[kind](state, event)


def _leave_collect(state: State, event: CollectLeft) -> Result:
    return _start_round(state, event.round) if state.step is Step.COLLECT else (state, ())  # C1


def _start_round(state: State, round_: int) -> Result:
    started = replace(
        state, round=round_, step=Step.PROPOSE, has_prevote_timer=False, has_precommit_timer=False
    )
    return started, (NewRound(round_), StartTimer("propose"))


def _skip(state: State, event: RoundAhead) -> Result:
    round_ = event.round
    if round_ <= state.round:
        return state, ()
    if state.step is not Step.COLLECT:
        return _start_round(state, round_)  # U8
    if state.is_leaving:
        return state, ()
    return replace(state, is_leaving=True), (LeaveCollect(),)  # C1 by U8: AVAIL is signed first.


def _prevote(state: State, event: ProposalSeen) -> Result:
    if state.step is not Step.PROPOSE:
        return state, ()
    is_first_proposed = event.valid_round < 0
    if not is_first_proposed and not event.has_polka:
        return state, ()  # U2 waits for the polka, at most until T1.
    voted = replace(state, step=Step.PREVOTE)
    nil = SendPrevote(state.round, None, -1)
    if is_first_proposed and not event.is_fresh:
        return voted, (nil,)  # U1: someone else's value, sent as new; its verdict is not asked.
    if not state.is_lock_free(event.valid_round) or event.is_valid is False:
        return voted, (nil,)  # U1, U2
    if event.is_valid is None:
        return state, ()
    return voted, (SendPrevote(state.round, event.value_id, event.valid_round),)  # U1, U2


def _await_prevotes(state: State, _: PrevotesSeen) -> Result:
    if state.step is Step.PREVOTE and not state.has_prevote_timer:  # U3
        return replace(state, has_prevote_timer=True), (StartTimer("prevote"),)
    return state, ()


def _lock(state: State, event: PolkaSeen) -> Result:
    cert = event.cert
    assert cert.round == state.round
    valid = replace(state, valid_value=cert.value_id, valid_round=cert.round)
    if state.step is Step.PREVOTE:  # U4: lock, then precommit.
        locked = replace(valid, locked_value=cert.value_id, locked_round=cert.round, step=Step.PRECOMMIT)
        return locked, (SendPrecommit(cert.round, cert.value_id, cert, event.header), PublishPolka(cert))
    if state.step is Step.PRECOMMIT and state.valid_round < cert.round:  # U4: too late to lock.
        return valid, (PublishPolka(cert),)
    return state, ()


def _remember(state: State, event: LatePolkaSeen) -> Result:
    cert = event.cert
    if state.valid_round < cert.round <= state.round:  # U4': serves later proposals, no lock.
        return replace(state, valid_value=cert.value_id, valid_round=cert.round), ()
    return state, ()


def _give_up(state: State, _: NilPolkaSeen) -> Result:
    return _precommit_nil(state) if state.step is Step.PREVOTE else (state, ())  # U5


def _await_precommits(state: State, _: PrecommitsSeen) -> Result:
    if not state.has_precommit_timer:  # U6
        return replace(state, has_precommit_timer=True), (StartTimer("precommit"),)
    return state, ()


def _precommit_nil(state: State) -> Result:
    return replace(state, step=Step.PRECOMMIT), (SendPrecommit(state.round, None, None, None),)


def _commit(state: State, event: CommitSeen) -> Result:
    cert, decided = event.cert, state.decided
    if state.is_violated:
        return state, ()
    if decided is not None and decided.value_id != cert.value_id:
        return replace(state, is_violated=True), (SafetyViolated(decided, cert),)  # U7: a fork.
    if decided is not None and event.is_valid is state.decided_is_valid:
        return state, ()
    decided = decided or cert
    after = replace(state, decided=decided, decided_is_valid=event.is_valid)
    first: tuple[Action, ...] = ()
    if state.decided is None:
        leaves = state.step is Step.COLLECT and not state.is_leaving
        first = (LeaveCollect(), PublishCommit(decided)) if leaves else (PublishCommit(decided),)
    if event.is_valid is False:
        return replace(after, is_violated=True), (
            *first,
            SafetyViolated(decided, None),
        )  # U7: our check refuses.
    return after, (*first, Decided(decided, event.is_valid is True))  # U7, U7'


def _time_out(state: State, event: TimeoutFired) -> Result:
    if event.round != state.round:
        return state, ()
    match event.kind:
        case "propose" if state.step is Step.PROPOSE:  # T1
            return replace(state, step=Step.PREVOTE), (SendPrevote(state.round, None, -1),)
        case "prevote" if state.step is Step.PREVOTE:  # T2
            return _precommit_nil(state)
        case "precommit":  # T3
            return _start_round(state, state.round + 1)
        case _:
            return state, ()


# A table, since a long `match` over message types took a tenth of a schedule's time.
_RULES: dict[type[Event], Callable[[State, Any], Result]] = {
    CollectLeft: _leave_collect,
    ProposalSeen: _prevote,
    PrevotesSeen: _await_prevotes,
    PolkaSeen: _lock,
    LatePolkaSeen: _remember,
    NilPolkaSeen: _give_up,
    PrecommitsSeen: _await_precommits,
    CommitSeen: _commit,
    RoundAhead: _skip,
    TimeoutFired: _time_out,
}
_IN_COLLECT = (CollectLeft, CommitSeen, RoundAhead)
