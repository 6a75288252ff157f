"""Liars about form: payloads and bytes that no honest peer makes."""

from __future__ import annotations

import msgspec
import numpy as np

from p2pfed.adversary.base import Adversary, Effects, Means, PayloadLiar
from p2pfed.adversary.effects import AdversaryEffect, SendBytes
from p2pfed.aggregation.payload import encode_payload
from p2pfed.node import events
from p2pfed.node.effects import Effect, Send
from p2pfed.node.events import Event
from p2pfed.primitives import codec
from p2pfed.types.model import Int16Vector
from p2pfed.types.params import CONTROL_BYTES_MAX
from p2pfed.types.update import CODECS, UpdateHeader
from p2pfed.types.vote import Prevote

MEMORY_MAX = 64  # Messages of others that are kept to be sent again.


class GarbagePayload(PayloadLiar):
    """Sends random bytes of the right length, among them a value that the rules forbid."""

    kind = "garbage_payload"

    def payload(self, height: int, own: Int16Vector) -> bytes:
        row = self.dice(height).integers(-(1 << 15), 1 << 15, own.shape).astype(np.int16)
        row[0] = -(1 << 15)
        return encode_payload(row)


class WrongShape(PayloadLiar):
    """Sends an update of one coordinate too few, and signs a header that says so."""

    kind = "wrong_shape"

    def payload(self, height: int, own: Int16Vector) -> bytes:  # noqa: ARG002
        return encode_payload(own[:-1])

    def publish(self, event: events.Trained, now_ms: int) -> Effects:  # noqa: ARG002
        # Its own node would refuse this header, so the liar signs and sends it by itself.
        state = self.node.state
        header = UpdateHeader(
            self.key.public,
            event.base_height,
            state.model_root,
            event.payload_bytes,
            event.payload_root,
            CODECS.index(state.genesis.params.codec),
            event.examples,
            bytes(64),
        )
        signed = msgspec.structs.replace(header, signature=self.key.sign(header.digest(state.chain_id)))
        return (Send(self.node.neighbours.table.connected_peers(), signed),)


class WithheldPayload(Adversary):
    """Announces its update and never serves a byte of it."""

    kind = "withheld_payload"

    def __init__(self, means: Means) -> None:
        super().__init__(means)
        self._own_roots: set[bytes] = set()

    def step(self, event: Event, now_ms: int) -> Effects:
        if not isinstance(event, events.Trained):
            return self.node.step(event, now_ms)
        self._own_roots.add(event.payload_root)
        boast = self.boast(event.base_height + 1, "announced an update that it never serves")
        return (boast, *self.node.step(event, now_ms))

    def withholds(self, root: bytes) -> bool:
        return root in self._own_roots


class BadChunks(Adversary):
    """It serves what it holds with one bit flipped: payloads, models, the parts of a snapshot."""

    kind = "bad_chunks"

    def shown(self, data: bytes) -> bytes:
        return bytes([data[0] ^ 1]) + data[1:]


class GarbageBytes(Adversary):
    """Sends random, truncated, oversized, non-canonical, forged and replayed messages in place of its own."""

    kind = "garbage_bytes"

    def __init__(self, means: Means) -> None:
        super().__init__(means)
        self._heard: list[bytes] = []
        self._turn = 0

    def step(self, event: Event, now_ms: int) -> Effects:
        if isinstance(event, events.MessageReceived) and len(self._heard) < MEMORY_MAX:
            self._heard.append(codec.encode(event.message))
        spoken: list[Effect | AdversaryEffect] = []
        for effect in self.node.step(event, now_ms):
            spoken += self._garbage(effect.peers) if isinstance(effect, Send) else (effect,)
        if isinstance(event, events.TimerFired) and event.timer.kind == "gossip":
            spoken += self._garbage(self.node.neighbours.table.connected_peers())
        return tuple(spoken)

    def _garbage(self, peers: tuple[bytes, ...]) -> Effects:
        self._turn += 1
        data, name = self._message()
        return SendBytes(peers, data), self.boast(self.node.state.next_height, f"sent {name}")

    def _message(self) -> tuple[bytes, str]:
        """Return the next bad message and what is bad about it."""
        dice = self.dice(self._turn)
        height = self.node.state.next_height
        real = self._heard[self._turn % len(self._heard)] if self._heard else b"\x94\x01"
        forged = Prevote(height, 0, dice.bytes(32), -1, 0, dice.bytes(64))
        kinds = (
            (dice.bytes(200), "random bytes"),
            (real[: len(real) // 2], "half a message"),
            (b"\x91" * 4000, "deep nesting"),
            (real + b"\x00", "a message with a byte too many"),
            (codec.encode(forged), "a forged vote"),
            (real, "a message of somebody else, again"),
            (
                b"\xc6" + (CONTROL_BYTES_MAX - 8).to_bytes(4, "big") + bytes(CONTROL_BYTES_MAX - 8),
                "a huge one",
            ),
        )
        return kinds[self._turn % len(kinds)]
