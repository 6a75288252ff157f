"""A liar that speaks for others: their names under its own signature, certificates of nobody."""

from __future__ import annotations

import msgspec

from p2pfed.adversary.base import Effects
from p2pfed.adversary.rewriter import Rewriter
from p2pfed.node.effects import Send
from p2pfed.types.certificate import CommitCert, PolkaCert
from p2pfed.types.update import UpdateHeader
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import ControlMessage


class Forger(Rewriter):
    """Sends after each word of its own the same in its neighbour's name, which it signs itself."""

    kind = "forger"

    def rewrite(self, effect: Send, now_ms: int) -> Effects:  # noqa: ARG002
        lie = self._forged(effect.message)
        if lie is None:
            return (effect,)
        boast = self.boast(self.node.state.next_height, f"forged a {type(lie).__name__}")
        return effect, boast, Send(effect.peers, lie)

    def _forged(self, message: ControlMessage) -> ControlMessage | None:
        validators = self.node.state.validators
        match message:
            case Prevote() | Precommit() if self.is_own(message):
                victim = (message.validator_index + 1) % len(validators)
                stolen: Prevote | Precommit = msgspec.structs.replace(message, validator_index=victim)
                return self.signed(stolen)
            case UpdateHeader() if self.is_own(message):
                trainers = [key for key in self.node.state.trainers if key != self.key.public]
                return (
                    self.signed(msgspec.structs.replace(message, trainer=trainers[0])) if trainers else None
                )
            case PolkaCert():
                return msgspec.structs.replace(message, round=message.round + 1)
            case CommitCert():
                return msgspec.structs.replace(message, value_id=bytes(32))
        return None
