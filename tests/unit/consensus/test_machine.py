"""Each rule of docs/spec/consensus.md by its name."""

from __future__ import annotations

from typing import get_args

import pytest
from msgspec.structs import replace
from support.consensus import Committee

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
)
from p2pfed.consensus.machine import (
    _RULES,
    CollectLeft,
    CommitSeen,
    Event,
    LatePolkaSeen,
    NilPolkaSeen,
    PolkaSeen,
    PrecommitsSeen,
    PrevotesSeen,
    ProposalSeen,
    RoundAhead,
    StartTimer,
    State,
    Step,
    apply,
)
from p2pfed.primitives.digest import sha256
from p2pfed.types.certificate import CommitCert, PolkaCert

HEADER = Committee().header()
X, Y = HEADER.value_id, sha256(b"Y")
COLLECTING = State()
VOTING_STEPS = (Step.PROPOSE, Step.PREVOTE, Step.PRECOMMIT)
NIL_PREVOTE, NIL_PRECOMMIT = SendPrevote(3, None, -1), SendPrecommit(3, None, None, None)


def at(step: Step, round_: int = 3, **fields: object) -> State:
    return State(round=round_, step=step, **fields)


def polka(round_: int, value_id: bytes = X) -> PolkaCert:
    return PolkaCert(1, round_, value_id, -1, b"\x07", ())


def commit(round_: int, value_id: bytes = X) -> CommitCert:
    return CommitCert(1, round_, value_id, b"\x07", ())


def seen(valid_round: int = -1, is_valid: bool | None = True, **fields: bool) -> ProposalSeen:
    return ProposalSeen(X, valid_round, fields.get("is_fresh", True), fields.get("has_polka", True), is_valid)


def says_nothing(state: State, event: Event) -> bool:
    return apply(state, event) == (state, ())


EVERY_EVENT: list[Event] = [
    seen(),
    seen(1),
    seen(is_valid=False),
    PrevotesSeen(),
    PolkaSeen(polka(3), HEADER),
    LatePolkaSeen(polka(2)),
    NilPolkaSeen(),
    PrecommitsSeen(),
    TimeoutFired("propose", 3),
    TimeoutFired("prevote", 3),
    TimeoutFired("precommit", 3),
]


@pytest.mark.parametrize("event", EVERY_EVENT, ids=repr)
def test_c0_nothing_is_voted_while_collecting(event: Event) -> None:
    assert says_nothing(COLLECTING, event)
    assert says_nothing(at(Step.COLLECT), event)


def test_c1_collecting_ends_in_the_round_where_the_others_are() -> None:
    for round_ in (0, 4):
        state, actions = apply(COLLECTING, CollectLeft(round_))
        assert (state.round, state.step) == (round_, Step.PROPOSE)
        assert actions == (NewRound(round_), StartTimer("propose"))
        assert says_nothing(state, CollectLeft(9))


def test_a_new_round_forgets_its_timers_and_keeps_lock_and_valid_value() -> None:
    before = at(
        Step.PRECOMMIT, has_prevote_timer=True, has_precommit_timer=True,
        locked_round=1, locked_value=X, valid_round=2, valid_value=Y,
    )  # fmt: skip
    after, actions = apply(before, RoundAhead(5))
    assert after == replace(
        before, round=5, step=Step.PROPOSE, has_prevote_timer=False, has_precommit_timer=False
    )
    assert actions == (NewRound(5), StartTimer("propose"))


def test_u1_a_fresh_valid_value_is_prevoted() -> None:
    state, actions = apply(at(Step.PROPOSE), seen())
    assert state == at(Step.PREVOTE)
    assert actions == (SendPrevote(3, X, -1),)


def test_u1_an_unchecked_value_waits() -> None:
    assert says_nothing(at(Step.PROPOSE), seen(is_valid=None))


@pytest.mark.parametrize(
    "event", [seen(is_valid=False), seen(is_fresh=False), seen(is_fresh=False, is_valid=None)], ids=repr
)
def test_u1_an_invalid_or_foreign_value_is_prevoted_nil_at_once(event: Event) -> None:
    assert apply(at(Step.PROPOSE), event) == (at(Step.PREVOTE), (NIL_PREVOTE,))


def test_u1_a_locked_validator_prevotes_nil_at_once_even_for_its_own_locked_value() -> None:
    for is_valid in (True, None):
        state, actions = apply(at(Step.PROPOSE, locked_round=0, locked_value=X), seen(is_valid=is_valid))
        assert (state.step, state.locked_round, actions) == (Step.PREVOTE, 0, (NIL_PREVOTE,))


@pytest.mark.parametrize(("locked_round", "is_free"), [(-1, True), (0, True), (1, True), (2, False)])
def test_u2_a_reproposal_needs_a_valid_round_at_or_above_the_lock(locked_round: int, is_free: bool) -> None:
    for locked_value in (X, Y):
        locked = at(Step.PROPOSE, locked_round=locked_round, locked_value=locked_value)
        state, actions = apply(locked, seen(1, is_fresh=False))
        assert actions == ((SendPrevote(3, X, 1) if is_free else NIL_PREVOTE),)
        assert state == replace(locked, step=Step.PREVOTE)


def test_u2_a_reproposal_waits_for_its_polka_and_its_verdict() -> None:
    for event in (seen(1, has_polka=False), seen(1, is_valid=None), seen(1, has_polka=False, is_valid=False)):
        assert says_nothing(at(Step.PROPOSE), event)
    assert apply(at(Step.PROPOSE), seen(1, is_valid=False))[1] == (NIL_PREVOTE,)


@pytest.mark.parametrize("step", [Step.PREVOTE, Step.PRECOMMIT])
def test_nobody_prevotes_twice(step: Step) -> None:
    for event in (seen(), seen(1), seen(is_valid=False), seen(is_fresh=False)):
        assert says_nothing(at(step), event)
    assert says_nothing(at(step), TimeoutFired("propose", 3))


def test_u3_a_quorum_of_any_prevotes_starts_one_timer_in_step_prevote() -> None:
    state, actions = apply(at(Step.PREVOTE), PrevotesSeen())
    assert (state, actions) == (at(Step.PREVOTE, has_prevote_timer=True), (StartTimer("prevote"),))
    assert says_nothing(state, PrevotesSeen())
    for step in (Step.PROPOSE, Step.PRECOMMIT):
        assert says_nothing(at(step), PrevotesSeen())


def test_u4_a_polka_locks_and_precommits() -> None:
    cert = polka(3)
    state, actions = apply(at(Step.PREVOTE), PolkaSeen(cert, HEADER))
    assert state == at(Step.PRECOMMIT, locked_round=3, locked_value=X, valid_round=3, valid_value=X)
    assert actions == (SendPrecommit(3, X, cert, HEADER), PublishPolka(cert))


def test_u4_locks_although_the_value_became_valid_before() -> None:
    known = at(Step.PREVOTE, valid_round=3, valid_value=X)
    assert apply(known, PolkaSeen(polka(3), HEADER))[0].locked_round == 3


def test_u4_a_polka_after_the_precommit_serves_later_proposals_only() -> None:
    cert = polka(3)
    state, actions = apply(at(Step.PRECOMMIT), PolkaSeen(cert, HEADER))
    assert (state, actions) == (at(Step.PRECOMMIT, valid_round=3, valid_value=X), (PublishPolka(cert),))
    assert says_nothing(state, PolkaSeen(cert, HEADER))


def test_u4_waits_for_our_own_prevote() -> None:
    assert says_nothing(at(Step.PROPOSE), PolkaSeen(polka(3), HEADER))


@pytest.mark.parametrize("step", VOTING_STEPS)
def test_u4_prime_a_late_polka_raises_the_valid_round_and_nothing_else(step: Step) -> None:
    before = at(step, valid_round=1, valid_value=Y)
    for round_ in (2, 3):
        after, actions = apply(before, LatePolkaSeen(polka(round_)))
        assert (after, actions) == (replace(before, valid_round=round_, valid_value=X), ())
    for round_ in (0, 1, 4):
        assert says_nothing(before, LatePolkaSeen(polka(round_)))


def test_u5_a_nil_polka_precommits_nil() -> None:
    assert apply(at(Step.PREVOTE), NilPolkaSeen()) == (at(Step.PRECOMMIT), (NIL_PRECOMMIT,))
    for step in (Step.PROPOSE, Step.PRECOMMIT):
        assert says_nothing(at(step), NilPolkaSeen())


@pytest.mark.parametrize("step", VOTING_STEPS)
def test_u6_a_quorum_of_any_precommits_starts_one_timer(step: Step) -> None:
    state, actions = apply(at(step), PrecommitsSeen())
    assert (state, actions) == (at(step, has_precommit_timer=True), (StartTimer("precommit"),))
    assert says_nothing(state, PrecommitsSeen())


@pytest.mark.parametrize("step", VOTING_STEPS)
@pytest.mark.parametrize("round_", [0, 3, 7])
def test_u7_a_commit_of_any_round_decides_once_and_ends_all_voting(step: Step, round_: int) -> None:
    cert = commit(round_)
    state, actions = apply(at(step), CommitSeen(cert, True))
    assert actions == (PublishCommit(cert), Decided(cert, True))
    assert state.decided == cert
    for event in (*EVERY_EVENT, RoundAhead(9), CollectLeft(0), CommitSeen(commit(8), True)):
        assert says_nothing(state, event)


def test_u7_prime_an_unchecked_decision_is_told_again_when_it_is_checked() -> None:
    cert = commit(3)
    state, actions = apply(at(Step.PREVOTE), CommitSeen(cert, None))
    assert actions == (PublishCommit(cert), Decided(cert, False))
    for event in (*EVERY_EVENT, RoundAhead(9), CommitSeen(cert, None), CommitSeen(commit(5), None)):
        assert says_nothing(state, event)
    state, actions = apply(state, CommitSeen(cert, True))
    assert actions == (Decided(cert, True),)
    assert says_nothing(state, CommitSeen(cert, True))


def test_u7_a_decision_that_our_check_refuses_halts() -> None:
    cert = commit(3)
    state, actions = apply(at(Step.PREVOTE), CommitSeen(cert, False))
    assert actions == (PublishCommit(cert), SafetyViolated(cert, None))
    assert says_nothing(state, CommitSeen(cert, True))
    waiting, _ = apply(at(Step.PREVOTE), CommitSeen(cert, None))
    assert apply(waiting, CommitSeen(cert, False))[1] == (SafetyViolated(cert, None),)


def test_u7_two_decisions_halt_once() -> None:
    first, second = commit(3), commit(4, Y)
    for verdict in (True, None):
        state, _ = apply(at(Step.PREVOTE), CommitSeen(first, verdict))
        state, actions = apply(state, CommitSeen(second, verdict))
        assert actions == (SafetyViolated(first, second),)
        for event in (CommitSeen(second, True), CommitSeen(first, True), CommitSeen(first, False)):
            assert says_nothing(state, event)


def test_u7_while_collecting_leaves_collect_first_and_once() -> None:
    cert = commit(0)
    assert apply(COLLECTING, CommitSeen(cert, True))[1] == (
        LeaveCollect(),
        PublishCommit(cert),
        Decided(cert, True),
    )
    leaving = State(is_leaving=True)
    assert apply(leaving, CommitSeen(cert, None))[1] == (PublishCommit(cert), Decided(cert, False))


@pytest.mark.parametrize("step", VOTING_STEPS)
def test_u8_a_third_ahead_pulls_along_and_a_third_behind_does_not(step: Step) -> None:
    assert apply(at(step), RoundAhead(4))[0].round == 4
    for round_ in (2, 3):
        assert says_nothing(at(step), RoundAhead(round_))


def test_u8_while_collecting_asks_once_for_the_avail() -> None:
    state, actions = apply(COLLECTING, RoundAhead(2))
    assert (state.step, actions) == (Step.COLLECT, (LeaveCollect(),))
    assert says_nothing(state, RoundAhead(3))


def test_t1_t2_t3_fire_in_their_own_step() -> None:
    assert apply(at(Step.PROPOSE), TimeoutFired("propose", 3)) == (at(Step.PREVOTE), (NIL_PREVOTE,))
    assert apply(at(Step.PREVOTE), TimeoutFired("prevote", 3)) == (at(Step.PRECOMMIT), (NIL_PRECOMMIT,))
    for step in VOTING_STEPS:
        state, actions = apply(at(step), TimeoutFired("precommit", 3))
        assert (state, actions) == (at(Step.PROPOSE, 4), (NewRound(4), StartTimer("propose")))
        if step is not Step.PREVOTE:
            assert says_nothing(at(step), TimeoutFired("prevote", 3))


@pytest.mark.parametrize("step", VOTING_STEPS)
@pytest.mark.parametrize("kind", ["propose", "prevote", "precommit"])
def test_a_timeout_of_another_round_is_stale(step: Step, kind: str) -> None:
    for round_ in (2, 4):
        assert says_nothing(at(step), TimeoutFired(kind, round_))


def test_u7_the_certificate_that_decided_stays_when_another_round_decides_the_same() -> None:
    decided, _ = apply(at(Step.PREVOTE), CommitSeen(commit(3), None))
    after, actions = apply(decided, CommitSeen(commit(1), True))
    assert after.decided == commit(3)
    assert actions == (Decided(commit(3), is_ready=True),)


def test_every_event_has_its_rule() -> None:
    assert set(_RULES) == set(get_args(Event))
