"""The signing hand of a node: the rules decide, the record is durable first, then the message is spoken."""

from __future__ import annotations

import msgspec

from p2pfed.consensus import signer
from p2pfed.consensus.signer import Signed, SignRecord, SignRequest, SignUpdate
from p2pfed.node.effects import Effect, Persist
from p2pfed.node.events import Trained
from p2pfed.primitives.keys import PrivateKey
from p2pfed.types.pledge import Pledge
from p2pfed.types.quality import Quality
from p2pfed.types.update import UpdateHeader
from p2pfed.types.wire import ControlMessage


class SigningHand:
    """Holds the key and the signer's record; every new signature leaves a Persist in `outbox` before it."""

    def __init__(self, key: PrivateKey, chain_id: bytes, record: SignRecord, outbox: list[Effect]) -> None:
        self._key = key
        self._chain_id = chain_id
        self.record = record
        self._outbox = outbox

    @property
    def public(self) -> bytes:
        return self._key.public

    def words(self, height: int, oldest_base: int) -> tuple[ControlMessage, ...]:
        """Return what was signed last for the block of `height`: update, availability vote, newest round.

        An update counts for it that is from a base of `oldest_base` or later.
        """
        record, words = self.record, list[ControlMessage]()
        if record.trainer is not None and oldest_base <= record.trainer.base_height < height:
            words.append(record.trainer)
        if record.avail is not None and record.avail.avail.height == height:
            words.append(record.avail)
        if record.height == height:
            votes = (record.proposal, record.prevote, record.precommit)
            words += [message for message in votes if message is not None]
        return tuple(words)

    def sign(self, request: SignRequest) -> ControlMessage | None:
        """Return the signed message (the same one where a request repeats), or None where refused."""
        decision = signer.decide(self.record, request, self._key, self._chain_id)
        if not isinstance(decision, Signed):
            return None
        if decision.is_new:
            self.record = decision.record
            self._outbox.append(Persist(decision.record))
        return decision.message

    def sign_quality(self, height: int, score: int, classes: bytes) -> Quality:
        """Return our word on a model; nothing depends on there being one alone, so no record is kept."""
        unsigned = Quality(height, self.public, score, classes, bytes(64))
        return msgspec.structs.replace(unsigned, signature=self._key.sign(unsigned.digest(self._chain_id)))

    def pledge(self, header: UpdateHeader) -> Pledge:
        """Return our word that we have this update. It says no more than the record holds: never another."""
        assert header == self.record.trainer
        unsigned = Pledge(header.trainer, header.base_height, header.update_id, bytes(64))
        return msgspec.structs.replace(unsigned, signature=self._key.sign(unsigned.digest(self._chain_id)))

    def sign_update(self, trained: Trained, model_root: bytes, codec: int) -> UpdateHeader | None:
        """Return the header of our own update, whose payload is durable already (R7); None where refused."""
        message = self.sign(
            SignUpdate(
                trained.base_height,
                model_root,
                trained.payload_bytes,
                trained.payload_root,
                codec,
                trained.examples,
            )
        )
        return message if isinstance(message, UpdateHeader) else None
