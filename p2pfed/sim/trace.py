"""One running hash of all that happened: the same seed gives the same one, in any process."""

from __future__ import annotations

from hashlib import sha256
from typing import assert_never

from p2pfed.node import events
from p2pfed.node.events import Event
from p2pfed.primitives import codec

LINES_MAX = 4_096  # Kept to be hashed together.


class Trace:
    """The hash of every (time, peer, event), in order."""

    def __init__(self) -> None:
        self._hash = sha256()
        self._lines: list[str] = []
        self.events = 0

    def add(self, now_ms: int, peer: int, what: str) -> None:
        self.events += 1
        self._lines.append(f"{now_ms} {peer} {what}\n")
        if len(self._lines) >= LINES_MAX:
            self._take_in()

    def digest(self) -> str:
        self._take_in()
        return self._hash.hexdigest()

    def _take_in(self) -> None:
        self._hash.update("".join(self._lines).encode())
        self._lines.clear()


def summary(event: Event) -> str:
    """Return one line that tells two different events apart."""
    return f"{type(event).__name__} {_content(event)}"


def _content(event: Event) -> str:
    match event:
        case events.Started():
            return ""
        case events.PeerConnected() | events.PeerDisconnected():
            return event.peer.hex()
        case events.DialFailed() | events.AddressesChanged():
            return " ".join(map(str, event.addresses))
        case events.MessageReceived():
            return f"{event.peer.hex()} {event.message_id.hex()}"
        case events.TransactionSubmitted():
            return sha256(codec.encode(event.transaction)).hexdigest()
        case events.Evaluated():
            return f"{event.height} {event.score} {event.classes.hex()}"
        case events.PeerMisbehaved():
            return f"{event.peer.hex()} {event.fault}"
        case events.TimerFired():
            return f"{event.timer.kind} {event.timer.height} {event.timer.round}"
        case events.Trained():
            return f"{event.base_height} {event.payload_root.hex()}"
        case events.TrainingFailed():
            return f"{event.base_height} {event.reason}"
        case events.PayloadFetched():
            return f"{event.update_id.hex()} {event.is_valid}"
        case events.BodyFetched() | events.ProposalBuilt():
            return event.header.value_id.hex()
        case events.ProposalChecked():
            return f"{event.value_id.hex()} {event.refusal}"
        case events.BlocksFetched():
            return f"{event.peer.hex()} {' '.join(block.header.value_id.hex() for block in event.blocks)}"
        case events.ModelFetched():
            return f"{event.height} {'none' if event.model is None else event.model.root.hex()}"
        case events.SnapshotOffered():
            name = "none" if event.snapshot is None else event.snapshot.block.header.value_id.hex()
            return f"{event.peer.hex()} {name}"
        case events.LightBlockFetched():
            name = "none" if event.block is None else event.block.header.value_id.hex()
            return f"{event.peer.hex()} {event.height} {name}"
        case events.SnapshotFetched():
            return f"{event.snapshot.block.header.value_id.hex()} {event.state is not None} {event.fault}"
        case _:
            assert_never(event)
