"""A free rider of this height: it waits for another's update and signs a copy as its own."""

from __future__ import annotations

from collections.abc import Sequence

from p2pfed.adversary.attacks.attack import root_mean_square, saturated
from p2pfed.adversary.base import Effects, Means, PayloadLiar
from p2pfed.adversary.effects import Craft
from p2pfed.aggregation.payload import encode_payload
from p2pfed.node import events
from p2pfed.node.effects import Send
from p2pfed.node.events import Event, Timer
from p2pfed.node.height import HeightWork
from p2pfed.types.model import Int16Vector
from p2pfed.types.update import UpdateHeader


class Copier(PayloadLiar):
    """Copies the first update that it gets of each height, with noise of `noise` times its size.

    Nothing holds it back: it tells everybody at once, and votes for its copy whether that was in time or not.
    """

    kind = "copier"
    detail = "published a copy of another's update"

    def __init__(self, means: Means) -> None:
        super().__init__(means)
        self._waiting: events.Trained | None = None

    def step(self, event: Event, now_ms: int) -> Effects:
        if isinstance(event, events.Trained) and event.base_height == self.node.state.height:
            if self._crafting == event.base_height:
                return (self.boast(event.base_height + 1, self.detail), *self.publish(event, now_ms))
            self._crafting, self._waiting = event.base_height, event
            return self._try()
        effects = self.node.step(event, now_ms)
        return (*effects, *self._try()) if self._waiting is not None else effects

    def publish(self, event: events.Trained, now_ms: int) -> Effects:
        """Sign the copy; where pledges are asked for, hold it to be in time and show it at once."""
        effects = self.node.step(event, now_ms)
        work, header = self.node.work, self.node.hand.record.trainer
        if work is None or header is None or work.pool.pledges is None or work.pool.pledges.in_time is None:
            return effects
        work.pool.pledges.in_time |= {header.update_id}
        told = Send(self.node.neighbours.table.connected_peers(), header)
        shown = self.node.step(events.TimerFired(Timer("collect", work.height, 0)), now_ms)
        return (*effects, told, *shown)

    def payload(self, height: int, own: Int16Vector) -> bytes:
        noise = self.settings["noise"] * root_mean_square(own)
        if not noise:
            return encode_payload(own)
        return encode_payload(saturated(own + self.dice(height).normal(0.0, noise, own.shape)))

    def _try(self) -> Effects:
        """Copy the first payload of another that is here."""
        trained, work = self._waiting, self.node.work
        assert trained is not None
        if work is None or work.height != trained.base_height + 1:
            self._waiting = None  # The height went by, and there was nothing to copy.
            return ()
        victims = self._victims(work)
        if not victims:
            return ()
        self._waiting = None
        height, root = work.height, victims[0].payload_root

        def craft(_own: Int16Vector, others: Sequence[Int16Vector]) -> bytes:
            return self.payload(height, others[0])

        return (
            self.boast(height, "waited for an update to copy"),
            Craft(trained.base_height, trained.examples, trained.payload_root, (root,), craft),
        )

    def _victims(self, work: HeightWork) -> list[UpdateHeader]:
        """Return the updates of others that are here, ascending by id."""
        friends, known = {self.key.public, *self.colluders}, work.pool.known
        held = (known[update_id] for update_id in sorted(work.pool.held))
        return [one for one in held if one.trainer not in friends and one.base_height == work.state.height]
