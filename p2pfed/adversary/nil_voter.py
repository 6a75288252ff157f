"""A liar that votes for nothing, whatever it sees."""

from __future__ import annotations

from msgspec.structs import replace

from p2pfed.adversary.base import Adversary, Effects, Means
from p2pfed.consensus.signer import SignPrecommit, SignPrevote, SignRequest
from p2pfed.node.events import Event


class NilVoter(Adversary):
    """Signs nil in place of every vote for a block."""

    kind = "nil_voter"

    def __init__(self, means: Means) -> None:
        super().__init__(means)
        self._denied = 0
        self.bend_signing(self._nil)

    def step(self, event: Event, now_ms: int) -> Effects:
        before, height = self._denied, self.node.state.next_height
        effects = self.node.step(event, now_ms)
        return effects if before == self._denied else (self.boast(height, "voted for nothing"), *effects)

    def _nil(self, request: SignRequest) -> SignRequest:
        match request:
            case SignPrevote() if request.value_id is not None:
                self._denied += 1
                return replace(request, value_id=None, valid_round=-1)
            case SignPrecommit() if request.value_id is not None:
                self._denied += 1
                return replace(request, value_id=None, lock_cert=None, lock_header=None)
        return request
