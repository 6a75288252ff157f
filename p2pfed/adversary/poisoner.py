"""A peer that lies about values: it keeps its honest update back and publishes what its attack makes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from p2pfed.adversary.attacks.attack import Attack, Sight
from p2pfed.adversary.attacks.foresight import Foresight, step_between
from p2pfed.adversary.base import Effects, Means, PayloadLiar
from p2pfed.adversary.effects import Craft
from p2pfed.aggregation.engine import faulty_max
from p2pfed.aggregation.payload import encode_payload
from p2pfed.consensus.timeouts import PRESETS
from p2pfed.node import events
from p2pfed.node.effects import ScheduleTimeout
from p2pfed.node.events import Event, Timer
from p2pfed.node.height import HeightWork
from p2pfed.types.model import Int16Vector, ModelState

# Honest peers wait max(T_grace, elapsed/2) once most updates are in: later than half of T_grace is too late.
DEADLINE_SHARE = 2


class Poisoner(PayloadLiar):
    """Publishes what `attack` makes of its own update alone."""

    def __init__(self, means: Means, attack: Attack) -> None:
        super().__init__(means)
        self.kind = attack.kind
        self.attack, self.detail = attack, attack.boast
        self._model: ModelState | None = None  # The one trained from a height ago.

    def craft_from(self, event: events.Trained, other_roots: tuple[bytes, ...]) -> Craft:
        """Return the request to make this height's payload; what is known of the network is that of now."""
        state, friends = self.node.state, {self.key.public, *self.colluders}
        assert state.model is not None
        params, manifest = state.genesis.params, state.genesis.manifest
        before, self._model = self._model, state.model
        foresight = Foresight(
            manifest, state.model, params.rules, faulty_max(state.trainer_bonds), params.update_bits,
            state.seed,
        )  # fmt: skip

        def craft(own: Int16Vector, others: Sequence[Int16Vector]) -> bytes:
            sight = Sight(
                own=own, honest=others, groups=manifest.groups, arrays=manifest.groups, liars=len(friends),
                trainers=len(state.trainer_bonds),
                step=None if before is None else step_between(before, foresight.model, manifest),
                dice=self.dice(event.base_height + 1), shared_dice=np.random.default_rng([self.seed]),
                merged=foresight.merged,
            )  # fmt: skip
            return encode_payload(self.attack.craft(sight))

        return Craft(event.base_height, event.examples, event.payload_root, other_roots, craft)


class Rusher(Poisoner):
    """Waits for the honest updates of the height first: all of them, unless one is late."""

    def __init__(self, means: Means, attack: Attack) -> None:
        super().__init__(means, attack)
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
        expected = work.collecting.clock.expected - friends - work.pool.settled_trainers()
        return tuple(known[update_id].payload_root for update_id in held), len(expected)
