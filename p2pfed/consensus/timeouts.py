"""How long a height waits for what: presets that genesis names, and the arithmetic on them."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from p2pfed.consensus.io import TimeoutKind

COLLECT_TIMES_MAX = 8  # The median looks at this many heights, so one slow height doesn't set the pace.
EMPTY_RUN_MAX = 16  # Doublings; long before that the wait has reached T_empty.


class Preset(Struct, frozen=True):
    """Waits in milliseconds. They grow with the round, so that an unknown network delay is met at last."""

    name: str
    propose_base_ms: int
    propose_step_ms: int
    vote_base_ms: int
    vote_step_ms: int
    cap_ms: int
    collect_floor_ms: int
    collect_cap_ms: int
    grace_ms: int
    flight_ms: int  # A push that has not come after so long, passed on and all, is taken for lost.
    empty_ms: int = 60_000

    def propose_ms(self, round: int) -> int:  # noqa: A002
        """Return how long to wait for the signed proposal and its header."""
        return min(self.cap_ms, self.propose_base_ms + self.propose_step_ms * round)

    def fetch_ms(self, missing_bytes: int, bytes_per_second: int) -> int:
        """Return how long to wait once more, when the header is here, for the bytes that are not."""
        assert missing_bytes >= 0
        assert bytes_per_second > 0
        return min(self.cap_ms, self.propose_base_ms + 1000 * missing_bytes // bytes_per_second)

    def vote_ms(self, round: int) -> int:  # noqa: A002
        """Return how long to wait for more prevotes, or precommits, once a quorum of any is here."""
        return min(self.cap_ms, self.vote_base_ms + self.vote_step_ms * round)

    def delay_ms(self, kind: TimeoutKind, round: int) -> int:  # noqa: A002
        """Return how long a timeout of a round waits."""
        return self.propose_ms(round) if kind == "propose" else self.vote_ms(round)

    def collect_ms(self, recent: Sequence[int], empty_run: int = 0) -> int:
        """Return how long to collect payloads: twice the median of the `recent` collect times (oldest first).

        The upper median of the last COLLECT_TIMES_MAX; without any the cap, since the first height is slow.
        After `empty_run` heights in a row without a new model it is the cap, doubled for each of them up to
        T_empty: a model that takes longer to train or to send than the preset thinks must come in at last.
        """
        if empty_run:
            return min(self.empty_ms, self.collect_cap_ms << min(empty_run, EMPTY_RUN_MAX))
        if not recent:
            return self.collect_cap_ms
        times = sorted(recent[-COLLECT_TIMES_MAX:])
        return min(self.collect_cap_ms, max(self.collect_floor_ms, 2 * times[len(times) // 2]))


PRESETS = {
    preset.name: preset
    for preset in (
        Preset("local", 1_000, 250, 500, 250, 10_000, 500, 2_000, 200, 100),
        Preset("lan", 1_500, 250, 750, 250, 30_000, 1_000, 10_000, 500, 200),
        Preset("wan", 3_000, 500, 1_000, 500, 60_000, 2_000, 30_000, 1_000, 500),
    )
}
