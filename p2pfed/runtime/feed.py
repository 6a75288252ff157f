"""One stream of facts for logs, pages, recordings and programs: bounded for each listener."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from msgspec import Struct

from p2pfed.learning.learner import Metrics
from p2pfed.node import facts
from p2pfed.types.address import peer_id

HISTORY_MAX = 1024  # Entries that a new listener is shown first.
BACKLOG_MAX = 4096  # A listener that is further behind loses the oldest entries and is told so.

_NAMES: dict[type[Any], str] = {
    facts.PeerJoined: "peer.joined",
    facts.PeerLeft: "peer.left",
    facts.PeerBlamed: "peer.blamed",
    facts.HeightStarted: "height.started",
    facts.UpdateMade: "update.made",
    facts.UpdateSkipped: "update.skipped",
    facts.UpdateReceived: "update.received",
    facts.UpdateRefused: "update.refused",
    facts.PledgesEnded: "pledges.ended",
    facts.CollectEnded: "collect.ended",
    facts.RoundStarted: "round.started",
    facts.ProposalRefused: "proposal.refused",
    facts.BlockCommitted: "block.committed",
    facts.EvidenceFound: "peer.equivocated",
    facts.StakeSlashed: "peer.slashed",
    facts.ValidatorJailed: "peer.jailed",
    facts.ModelJudged: "model.judged",
    facts.ModelRejected: "model.rejected",
    facts.SetChanged: "validators.changed",
    facts.CatchingUp: "peer.catching_up",
    facts.BlocksGone: "sync.cut_off",
    facts.SnapshotChosen: "sync.chosen",
    facts.StateSynced: "sync.finished",
    facts.Listening: "peer.listening",
    facts.NetworkFinished: "network.finished",
}
_PEER_FIELDS = frozenset({"peer", "trainer", "proposer", "culprit", "validator"})


class Entry(Struct, frozen=True):
    """One thing that happened: when (ms since 1970), its name, and plain values ready for JSON."""

    time_ms: int
    event: str
    data: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        return {"schema": "p2pfed.event/1", "time_ms": self.time_ms, "event": self.event, **self.data}


def entry_of(fact: facts.Fact, time_ms: int) -> Entry:
    """Return a fact as plain values: peers by their peer id, other bytes in hex."""
    data = {name: _plain(name, getattr(fact, name)) for name in fact.__struct_fields__}
    return Entry(time_ms, _NAMES[type(fact)], data)


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, bytes):
        return peer_id(value) if name in _PEER_FIELDS else value.hex()
    if isinstance(value, tuple):
        return [peer_id(item) if isinstance(item, bytes) else item for item in value]
    return value


class Feed:
    """Publishes entries to synchronous listeners (logs) and to bounded streams (pages, programs)."""

    def __init__(self) -> None:
        self._history: deque[Entry] = deque(maxlen=HISTORY_MAX)
        self._listeners: list[Callable[[Entry], None]] = []
        self._streams: list[tuple[deque[Entry], asyncio.Event]] = []
        self.figures: dict[int, Metrics] = {}  # Height -> what the learner measured, for the last heights.

    def listen(self, listener: Callable[[Entry], None]) -> None:
        """Call `listener` with every entry from now on."""
        self._listeners.append(listener)

    def publish(self, entry: Entry) -> None:
        self._history.append(entry)
        for listener in self._listeners:
            listener(entry)
        for backlog, wake in self._streams:
            backlog.append(entry)
            wake.set()

    def keep_figures(self, height: int, figures: Metrics) -> None:
        self.figures[height] = figures
        for old in [known for known in self.figures if known <= height - HISTORY_MAX]:
            del self.figures[old]

    @property
    def history(self) -> tuple[Entry, ...]:
        return tuple(self._history)

    @contextmanager
    def stream(self) -> Iterator[AsyncIterator[Entry]]:
        """Offer the history and then every new entry; a slow reader loses the oldest of its backlog."""
        backlog: deque[Entry] = deque(self._history, maxlen=BACKLOG_MAX)
        wake = asyncio.Event()
        if backlog:
            wake.set()
        listener = (backlog, wake)
        self._streams.append(listener)

        async def entries() -> AsyncIterator[Entry]:
            while True:
                await wake.wait()
                while backlog:
                    yield backlog.popleft()
                wake.clear()

        try:
            yield entries()
        finally:
            self._streams.remove(listener)
