"""The vote rules in a small world walked whole: every fork convicts a third, and nobody who kept the rules.

The model knows nothing of the code; the last test walks the code beside it.
"""

from __future__ import annotations

import pytest
from model.votes import NIL, History, Polka, World, precommit_moves, prevote_moves
from model.walk import sample, walk

from p2pfed.consensus.io import SendPrecommit, SendPrevote, TimeoutFired
from p2pfed.consensus.machine import CollectLeft, Event, PolkaSeen, ProposalSeen, State, apply
from p2pfed.types.certificate import PolkaCert

TWO_OF_FOUR = World((1, 1), (1, 1))


def test_every_fork_of_two_liars_in_four_convicts_both_and_nobody_is_framed() -> None:
    counts = walk(TWO_OF_FOUR, rounds=3)
    assert (counts.runs, counts.forked, counts.pairs) == (186_311, 80_000, 151_992)
    assert (counts.framed, counts.unconvicted, counts.least_share) == (0, 0, 0.5)


def test_the_way_around_the_lock_of_the_paper_frames_correct_voters() -> None:
    counts = walk(World((1, 1), (1, 1), is_strict=False), rounds=2)
    assert (counts.runs, counts.framed) == (3_665, 1_176)


def test_below_a_third_nothing_forks() -> None:
    counts = walk(World((1, 1, 1), (1,)), rounds=2)
    assert (counts.runs, counts.framed, counts.forked) == (13_273, 0, 0)


def test_forks_of_unequal_stakes_convict_more_than_a_third() -> None:
    counts = sample(4_000, seed=1)
    assert counts.forked > 400
    assert (counts.framed, counts.unconvicted) == (0, 0)
    assert counts.least_share is not None
    assert 1 / 3 < counts.least_share < 0.4


def test_the_model_sees_a_quorum_that_is_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """With half of the stake a fork needs no lie that a third told."""
    monkeypatch.setattr(World, "is_quorum", lambda world, power: 2 * power >= world.total)
    assert walk(World((1, 1, 1), (1,)), rounds=1).unconvicted > 0


def value_id(value: int) -> bytes:
    return bytes([value]) * 32


def said(state: State, event: Event, kind: type[SendPrevote | SendPrecommit]) -> tuple[State, set[object]]:
    """Return the state after `event`, and the votes of a kind that it brings."""
    after, actions = apply(state, event)
    return after, {action for action in actions if isinstance(action, kind)}


def proposals(polkas: list[Polka]) -> list[Event]:
    """Return every proposal that liars can make where these polkas are held, and none at all."""
    held = {(value, round_) for round_, value, _ in polkas}
    claims = [(value, valid_round) for value in (0, 1) for valid_round in (-1, 0, 1)]
    return [ProposalSeen(value_id(v), vr, True, (v, vr) in held, True) for v, vr in claims]


@pytest.mark.parametrize("hidden", [None, (0, 0, -1), (1, 1, 0)], ids=["all polkas", "one less", "another"])
def test_the_machine_votes_as_the_model_lets_it_and_no_other_way(hidden: Polka | None) -> None:
    world, walked = World((1,), (1, 1)), 0
    start, _ = apply(State(), CollectLeft(0))
    frontier: list[tuple[History, State]] = [((), start)]
    while frontier:
        history, state = frontier.pop()
        round_ = len(history)
        every = [(r, v, vr) for r in range(round_ + 1) for v in (0, 1) for vr in range(-1, r)]
        earlier = [polka for polka in every if polka[0] < round_ and polka != hidden]
        now = [polka for polka in every if polka[0] == round_ and polka != hidden]
        moves = prevote_moves(world, history, earlier, 0)
        timeout, prevotes = TimeoutFired("propose", round_), {}
        for event in (*proposals(earlier), timeout):
            voted, votes = said(state, event, SendPrevote)
            prevotes |= {(vote.value_id, vote.valid_round): voted for vote in votes}
        assert set(prevotes) == {(value_id(m[0]), m[1]) if m else (None, -1) for m in moves}
        for move in moves:
            walked += 1
            voted = prevotes[(value_id(move[0]), move[1]) if move else (None, -1)]
            assert not said(voted, timeout, SendPrevote)[1]
            for precommit in precommit_moves(now):
                event = TimeoutFired("prevote", round_)
                if precommit:
                    cert = PolkaCert(1, round_, value_id(precommit[0]), precommit[1], b"", ())
                    event = PolkaSeen(cert, None)  # type: ignore[arg-type]
                assert not said(state, event, SendPrecommit)[1]  # Not before the prevote.
                done, votes = said(voted, event, SendPrecommit)
                assert [vote.value_id for vote in votes] == [value_id(precommit[0]) if precommit else None]
                longer = (*history, ((move,), (precommit or NIL,)))
                if len(longer) < 3:
                    frontier.append((longer, apply(done, TimeoutFired("precommit", round_))[0]))
    assert walked > 500
