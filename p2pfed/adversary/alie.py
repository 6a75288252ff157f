"""A rushing liar: sees the honest updates of the height before it makes its own, close enough to hide."""

from __future__ import annotations

from collections.abc import Sequence

from p2pfed.adversary import values
from p2pfed.adversary.base import Effects, Means, PayloadLiar
from p2pfed.aggregation.payload import encode_payload
from p2pfed.consensus.timeouts import PRESETS
from p2pfed.node import events
from p2pfed.node.effects import ScheduleTimeout
from p2pfed.node.events import Event, Timer
from p2pfed.node.height import HeightWork
from p2pfed.types.model import Int16Vector

# Honest peers wait max(T_grace, elapsed/2) once most updates are in: later than half of T_grace is too late.
DEADLINE_SHARE = 2


class Alie(PayloadLiar):
    """Sends mean - z * deviation of the honest updates that it holds; all of them, unless one is late."""

    kind = "alie"

    def __init__(self, means: Means) -> None:
        super().__init__(means)
        self._waiting: events.Trained | None = None
        self._deadline_ms = 0

    def step(self, event: Event, now_ms: int) -> Effects:
        if isinstance(event, events.Trained) and event.base_height == self.node.state.height:
            if self._crafting == event.base_height:
                return self.publish(event, now_ms)
            self._crafting, self._waiting = event.base_height, event
            self._deadline_ms = 0
            return self._try(now_ms)
        effects = self.node.step(event, now_ms)
        return (*effects, *self._try(now_ms)) if self._waiting is not None else effects

    def payload(self, height: int, own: Int16Vector, others: Sequence[Int16Vector]) -> bytes:  # noqa: ARG002
        return encode_payload(
            values.alie([*others] if len(others) > 1 else [own, *others], self.settings["z"])
        )

    def _try(self, now_ms: int) -> Effects:
        """Craft once every honest update is here, or the honest ones won't wait any longer."""
        trained, work = self._waiting, self.node.work
        assert trained is not None
        if work is None or work.height != trained.base_height + 1:
            self._waiting = None  # The height went by without us.
            return ()
        roots, missing = self._honest(work)
        if missing and not self._deadline_ms and 3 * len(roots) > 2 * (len(roots) + missing):
            wait_ms = PRESETS[self.node.state.genesis.params.preset].grace_ms // DEADLINE_SHARE
            self._deadline_ms = now_ms + wait_ms
            return (ScheduleTimeout(Timer("collect", work.height, 0), wait_ms),)
        if missing and not 0 < self._deadline_ms <= now_ms:
            return ()
        self._waiting = None
        late = f", {missing} were late" if missing else ""
        detail = f"made its update from {len(roots)} honest ones{late}"
        return (self.boast(work.height, detail), self.craft_from(trained, roots))

    def _honest(self, work: HeightWork) -> tuple[tuple[bytes, ...], int]:
        """Return the payload roots of the honest updates held, and how many are still awaited."""
        friends = {self.key.public, *self.colluders}
        known = work.pool.known
        held = sorted(update_id for update_id in work.pool.held if known[update_id].trainer not in friends)
        expected = work.collect.expected - friends - work.pool.settled_trainers()
        return tuple(known[update_id].payload_root for update_id in held), len(expected)
