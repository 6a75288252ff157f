"""A liar about what it holds: its availability vote lists what it never had."""

from __future__ import annotations

from msgspec.structs import replace

from p2pfed.adversary.base import Adversary, Effects, Means
from p2pfed.consensus.signer import SignAvail, SignRequest
from p2pfed.node.events import Event
from p2pfed.primitives.digest import tagged


class AvailabilityLiar(Adversary):
    """Lists every update of the height, held or not, and one that nobody ever made."""

    kind = "availability_liar"

    def __init__(self, means: Means) -> None:
        super().__init__(means)
        self._lied_at = 0
        self.bend_signing(self._more)

    def step(self, event: Event, now_ms: int) -> Effects:
        before = self._lied_at
        effects = self.node.step(event, now_ms)
        if self._lied_at == before:
            return effects
        return self.boast(self._lied_at, "listed an update that nobody made"), *effects

    def _more(self, request: SignRequest) -> SignRequest:
        if not isinstance(request, SignAvail):
            return request
        self._lied_at = request.height
        known = self.node.work.pool.known if self.node.work is not None else {}
        invented = tagged("lie", self.key.public + request.height.to_bytes(8, "big"))
        return replace(request, update_ids=tuple(sorted({*request.update_ids, *known, invented})))
