"""Faults cost score, time gives it back, and no ban is for ever."""

from __future__ import annotations

import pytest

from p2pfed.errors import BadSignature, MalformedMessage, WrongHeight
from p2pfed.gossip.standing import BAN_FIRST_MS, BAN_MAX_MS, FORGIVEN_MS, RECOVERY_MS, SCORE_MAX, Standing
from p2pfed.types.params import INVALID_SIGNATURES_MAX


def _strike(standing: Standing, now_ms: int) -> int:
    until_ms = standing.penalise(SCORE_MAX, now_ms)
    assert until_ms is not None
    return until_ms


@pytest.mark.parametrize("now_ms", [0, 1_790_000_000_000])
def test_the_third_bad_signature_ends_the_pipe(now_ms: int) -> None:
    standing = Standing()
    for _ in range(INVALID_SIGNATURES_MAX - 1):
        assert standing.penalise(BadSignature.penalty, now_ms) is None
    assert standing.penalise(BadSignature.penalty, now_ms) == now_ms + BAN_FIRST_MS
    assert standing.is_banned(now_ms + BAN_FIRST_MS - 1)
    assert not standing.is_banned(now_ms + BAN_FIRST_MS)


def test_one_malformed_message_ends_the_pipe() -> None:
    assert Standing().penalise(MalformedMessage.penalty, 5) == 5 + BAN_FIRST_MS


def test_time_gives_the_score_back_point_by_point() -> None:
    standing = Standing()
    standing.penalise(10, 0)
    standing.recover(RECOVERY_MS - 1)
    assert standing.score == SCORE_MAX - 10
    standing.recover(RECOVERY_MS)
    assert standing.score == SCORE_MAX - 9
    for now_ms in range(RECOVERY_MS, 4 * RECOVERY_MS, 7):  # Looking often loses no fraction of a point.
        standing.recover(now_ms)
    standing.recover(4 * RECOVERY_MS)
    assert standing.score == SCORE_MAX - 6
    standing.recover(10**9)
    assert standing.score == SCORE_MAX


def test_an_honest_slow_peer_is_never_cut_off() -> None:
    standing = Standing()
    for now_ms in range(0, 10**6, RECOVERY_MS):
        assert standing.penalise(WrongHeight.penalty, now_ms) is None


def test_bans_double_up_to_a_bound() -> None:
    standing, now_ms, bans = Standing(), 0, []
    for _ in range(12):
        until_ms = _strike(standing, now_ms)
        bans.append(until_ms - now_ms)
        now_ms = until_ms
    assert bans[:3] == [BAN_FIRST_MS, 2 * BAN_FIRST_MS, 4 * BAN_FIRST_MS]
    assert max(bans) == bans[-1] == BAN_MAX_MS


def test_a_peer_that_comes_back_has_half_its_score() -> None:
    standing = Standing()
    until_ms = _strike(standing, 0)
    assert standing.penalise(SCORE_MAX // 2 - 1, until_ms) is None


def test_an_hour_without_a_strike_is_forgiven() -> None:
    standing = Standing()
    until_ms = _strike(standing, 0)
    again_ms = _strike(standing, until_ms + FORGIVEN_MS)
    assert again_ms - until_ms - FORGIVEN_MS == BAN_FIRST_MS
    early_ms = _strike(standing, again_ms + FORGIVEN_MS - 1)
    assert early_ms - again_ms - FORGIVEN_MS + 1 == 2 * BAN_FIRST_MS


def test_a_clock_set_back_neither_heals_nor_breaks() -> None:
    standing = Standing()
    standing.penalise(50, 100_000)
    standing.recover(0)
    assert standing.score == SCORE_MAX - 50
    standing.recover(100_000)
    assert standing.score == SCORE_MAX - 50
