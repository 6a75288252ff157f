"""A liar that changes one field of what it says: off by one, an older value, another signature."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec
import numpy as np

from p2pfed.adversary.base import Effects, Means
from p2pfed.adversary.rewriter import Rewriter
from p2pfed.node.effects import Send
from p2pfed.types.availability import AvailMessage
from p2pfed.types.block import Header
from p2pfed.types.certificate import CommitCert, PolkaCert
from p2pfed.types.message import Message, SignedMessage
from p2pfed.types.wire import ControlMessage, Digest, ProposalMessage

M = TypeVar("M", bound=Message)
RE_SIGNED_SHARE = 0.6  # The others keep the signature of what they were.


class Mutator(Rewriter):
    """Bends every other message of its own, and certificates and digests that it sends."""

    kind = "mutator"

    def __init__(self, means: Means) -> None:
        super().__init__(means)
        self._turn = 0
        self._older: dict[tuple[str, str], Any] = {}  # (message, field) -> the value it had before.

    def rewrite(self, effect: Send, now_ms: int) -> Effects:  # noqa: ARG002
        message = effect.message
        is_mine = self.is_own(message) or isinstance(message, PolkaCert | CommitCert | Digest)
        self._turn += is_mine
        if not is_mine or self._turn % 2:
            return (effect,)
        dice = self.dice(self._turn)
        bent = self._bent(message, dice)
        boast = self.boast(self.node.state.next_height, f"bent its {type(bent).__name__}")
        return boast, Send(effect.peers, bent)

    def _bent(self, message: ControlMessage, dice: np.random.Generator) -> ControlMessage:
        """Return the message, or the signed one or the header in it, with one field changed."""
        bent: ControlMessage
        if isinstance(message, ProposalMessage):
            if dice.random() < 0.5:
                return msgspec.structs.replace(message, header=self._changed(message.header, dice))
            return msgspec.structs.replace(message, proposal=self._signed_change(message.proposal, dice))
        if isinstance(message, AvailMessage):
            if message.update_ids and dice.random() < 0.3:
                return msgspec.structs.replace(message, update_ids=message.update_ids[1:])
            return msgspec.structs.replace(message, avail=self._signed_change(message.avail, dice))
        bent = (self._signed_change if isinstance(message, SignedMessage) else self._changed)(message, dice)
        return bent

    def _signed_change(self, message: Any, dice: np.random.Generator) -> Any:
        changed = self._changed(message, dice)
        assert isinstance(changed, SignedMessage)
        return self.signed(changed) if dice.random() < RE_SIGNED_SHARE else changed

    def _changed(self, message: M, dice: np.random.Generator) -> M:
        """Return `message` with one field changed to something that still has its type and length."""
        names = [name for name, _ in _changeable(message)]
        name = names[int(dice.integers(len(names)))]
        value = getattr(message, name)
        place = (type(message).__name__, name)
        older, self._older[place] = self._older.get(place, value), value
        if isinstance(value, int) and (older == value or dice.random() < 0.5):
            lowest = -1 if name in ("valid_round", "locked_round") else 0
            step = 1 if value <= lowest or dice.random() < 0.5 else -1
            older = value + step
        elif older == value and isinstance(value, bytes) and value:
            older = bytes([value[0] ^ 1]) + value[1:]
        elif value is None:
            older = bytes(32)
        return msgspec.structs.replace(message, **{name: older})


def _changeable(message: Message) -> Iterator[tuple[str, Any]]:
    """Yield the fields that are numbers, bytes or nothing; a header's version and text stay."""
    for field in msgspec.structs.fields(message):
        value = getattr(message, field.name)
        is_fixed = isinstance(message, Header) and field.name in ("version", "seed_reveal")
        if not is_fixed and field.name != "step" and isinstance(value, int | bytes | None):
            yield field.name, value
