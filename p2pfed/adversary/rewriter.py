"""The base of liars that change what leaves: their own messages become others, late, or none."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from p2pfed.adversary.base import Adversary, Effects
from p2pfed.adversary.effects import AdversaryEffect
from p2pfed.node.effects import Effect, Send
from p2pfed.node.events import Event
from p2pfed.types.availability import AvailMessage
from p2pfed.types.message import SignedMessage
from p2pfed.types.pledge import Pledge
from p2pfed.types.update import UpdateHeader
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import ControlMessage, ProposalMessage

S = TypeVar("S", bound=SignedMessage)


class Rewriter(Adversary):
    """Everything it sends goes through `rewrite`, answers to digests too, so it says the same again."""

    def step(self, event: Event, now_ms: int) -> Effects:
        said: list[Effect | AdversaryEffect] = []
        for effect in self.node.step(event, now_ms):
            said += self.rewrite(effect, now_ms) if isinstance(effect, Send) else (effect,)
        return tuple(said)

    def rewrite(self, effect: Send, now_ms: int) -> Effects:
        """Return what leaves in place of `effect`."""
        raise NotImplementedError

    def is_own(self, message: ControlMessage) -> bool:
        """Answer whether this liar speaks for itself by `message`."""
        match message:
            case UpdateHeader() | Pledge():
                return message.trainer == self.key.public
            case AvailMessage():
                index = message.avail.validator_index
            case ProposalMessage():
                index = message.proposal.validator_index
            case Prevote() | Precommit():
                index = message.validator_index
            case _:
                return False
        return index == self.own_index

    def signed(self, message: S) -> S:
        """Return `message` with this liar's signature."""
        signature = self.key.sign(message.digest(self.node.state.chain_id))
        return msgspec.structs.replace(message, signature=signature)

    def others(self) -> tuple[bytes, ...]:
        return self.node.neighbours.table.connected_peers()
