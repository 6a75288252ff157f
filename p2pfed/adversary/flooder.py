"""A liar that sends more than anyone may: well-formed messages, again and again."""

from __future__ import annotations

from p2pfed.adversary.base import Adversary, Effects
from p2pfed.node import events
from p2pfed.node.digesting import digest_of
from p2pfed.node.effects import Send
from p2pfed.node.events import Event


class Flooder(Adversary):
    """Sends its digest `messages` times at every tick of gossip, that is twice a second."""

    kind = "flooder"

    def step(self, event: Event, now_ms: int) -> Effects:
        effects = self.node.step(event, now_ms)
        if not isinstance(event, events.TimerFired) or event.timer.kind != "gossip":
            return effects
        peers = self.node.neighbours.table.connected_peers()
        flood = Send(peers, digest_of(self.node.state, self.node.work))
        count = int(self.settings["messages"])
        boast = self.boast(self.node.state.next_height, f"sends {count} messages at once")
        return (*effects, boast, *[flood] * count)
