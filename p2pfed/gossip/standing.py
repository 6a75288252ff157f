"""A peer's standing: faults cost score, time gives it back, an empty score closes the pipe for a while."""

from __future__ import annotations

from msgspec import Struct

SCORE_MAX = (
    100  # Three bad signatures at 34 each empty it (INVALID_SIGNATURES_MAX), one malformed message too.
)
RECOVERY_MS = 1_000  # For one point: an honest peer's rare slip is forgotten, a steady drip of faults is not.
BAN_FIRST_MS = 5_000
BAN_MAX_MS = 600_000  # Nobody is shut out for ever: a member may be mended, and its stake is needed.
FORGIVEN_MS = 3_600_000  # A strike is forgotten after an hour without another.


class Standing(Struct):
    """The score of one peer and how often it lost all of it."""

    score: int = SCORE_MAX
    since_ms: int = 0  # Up to when recovery is credited.
    strikes: int = 0
    banned_until_ms: int = 0

    def recover(self, now_ms: int) -> None:
        """Credit the time that passed."""
        elapsed_ms = max(0, now_ms - self.since_ms)
        self.score = min(SCORE_MAX, self.score + elapsed_ms // RECOVERY_MS)
        self.since_ms = max(self.since_ms, now_ms - elapsed_ms % RECOVERY_MS)
        if self.strikes and now_ms - self.banned_until_ms >= FORGIVEN_MS:
            self.strikes = 0

    def penalise(self, penalty: int, now_ms: int) -> int | None:
        """Take `penalty` off; return until when the peer is banned where that emptied the score, else None.

        Each strike doubles the ban up to BAN_MAX_MS. Afterwards the peer starts with half the score.
        """
        assert penalty >= 0
        self.recover(now_ms)
        self.score -= penalty
        if self.score > 0:
            return None
        self.score = SCORE_MAX // 2
        ban_ms = min(BAN_MAX_MS, BAN_FIRST_MS << min(self.strikes, 16))
        self.strikes += 1
        self.banned_until_ms = max(self.banned_until_ms, now_ms + ban_ms)
        return self.banned_until_ms

    def is_banned(self, now_ms: int) -> bool:
        return now_ms < self.banned_until_ms
