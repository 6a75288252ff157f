"""A peer's figures for Prometheus, by the names of docs/guide/operating.md; read by `GET /metrics`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from p2pfed.runtime.feed import Entry
from p2pfed.runtime.traffic import Traffic

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
REASONS_MAX = 32  # Distinct reasons of refusals; a liar finds ever new words, a database should not.
REASON_LETTERS_MAX = 48
LAG_EVERY_S = 0.1
LAG_BUCKETS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
INTERVAL_BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_NO_WORD = re.compile(r"[^A-Za-z ]+.*")  # A reason's numbers and names come after its words.
_NO_NAME = re.compile(r"[^a-z0-9]+")

Status = Callable[[], dict[str, Any]]

disable_created_metrics()  # type: ignore[no-untyped-call]  # Twice the lines, and nobody draws them.


class PeerMetrics:
    """Counts what a peer publishes; where it stands is read when somebody asks.

    Args:
        traffic: What went over the peer's pipes.
        status: Returns the document of `GET /v1/status`.
    """

    def __init__(self, traffic: Traffic, status: Status) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._traffic, self._status = traffic, status
        self._reasons: set[str] = set()
        self._last_block_ms = 0
        self._figures: dict[str, float] = {}  # Of the newest model that was measured.
        ProcessCollector(registry=self._registry)
        self._updates = self._counter("updates", "Updates by what became of them.", "result", "reason")
        self._evidence = self._counter("evidence", "Proofs of lies found.", "kind")
        self._faults = self._counter("peer_faults", "Misdeeds of peers that cost them their pipe or score.")
        self._refused = self._counter(
            "proposals_refused", "Proposals that this peer's own arithmetic refused."
        )
        self._empty = self._counter("blocks_without_model", "Final blocks that carried no new model.")
        self._interval = self._histogram("block_interval_seconds", "From block to block.", INTERVAL_BUCKETS_S)
        self._lag = self._histogram(
            "event_loop_lag_seconds", "How late the peer's loop comes to its timers.", LAG_BUCKETS_S
        )
        self._registry.register(self)

    def listen(self, entry: Entry) -> None:
        """Count an entry of the feed."""
        match entry.event:
            case "block.committed":
                self._committed(entry)
            case "update.refused":
                self._updates.labels("refused", self._reason(entry.data["reason"])).inc()
            case "update.skipped":
                self._updates.labels("skipped", self._reason(entry.data["reason"])).inc()
            case "peer.equivocated":
                self._evidence.labels(entry.data["kind"]).inc()
            case "peer.fault" | "peer.blamed":
                self._faults.inc()
            case "proposal.refused":
                self._refused.inc()
            case "block.evaluated":
                figures = {name: value for name, value in entry.data.items() if name != "height"}
                self._figures = figures or self._figures

    async def watch_loop(self) -> None:
        """Measure for ever how late timers of this loop fire."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_EVERY_S
            await asyncio.sleep(LAG_EVERY_S)
            self._lag.observe(max(0.0, loop.time() - due))

    def text(self) -> bytes:
        """Return everything in Prometheus' text format, CONTENT_TYPE."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield what is read rather than counted."""
        status = self._status()
        for name, help_text, value in (
            ("height", "The newest final height.", status["height"]),
            ("round", "The round of the height that is worked on.", status["round"]),
            ("updates_held", "Updates held for the height that is worked on.", status["updates_held"]),
            ("updates_expected", "Trainers of that height.", status["updates_expected"]),
            ("peers_connected", "Open pipes.", sum(peer["is_connected"] for peer in status["peers"])),
            ("stake_online_ratio", "Voting stake reachable, this peer's included, as a share of all.",
             status["stake_connected"] / max(1, status["stake_total"])),
            ("halted", "1 where too little stake is reachable for a block.", int(status["is_halted"])),
        ):  # fmt: skip
            yield GaugeMetricFamily(f"p2pfed_{name}", help_text, value=value)
        figures = GaugeMetricFamily(
            "p2pfed_figure",
            "What this peer's learner measured of the newest model that it measured.",
            labels=["name"],
        )
        for name, value in sorted(self._figures.items()):
            figures.add_metric([_NO_NAME.sub("_", name.lower()).strip("_")], value)
        yield figures
        yield from self._traffic_metrics()

    def _traffic_metrics(self) -> Iterator[Metric]:
        labels = ["direction", "type"]
        size = CounterMetricFamily("p2pfed_message_bytes", "Bytes of messages, without TLS.", labels=labels)
        number = CounterMetricFamily("p2pfed_messages", "Messages, bulk requests and answers.", labels=labels)
        votes = CounterMetricFamily("p2pfed_votes", "Votes that came and went.", labels=["type", "result"])
        for (direction, kind), count in sorted(self._traffic.messages.items()):
            number.add_metric([direction, kind], count)
            size.add_metric([direction, kind], self._traffic.bytes[direction, kind])
            if kind in ("Prevote", "Precommit"):
                votes.add_metric([kind.lower(), "received" if direction == "in" else "sent"], count)
        yield from (size, number, votes)

    def _committed(self, entry: Entry) -> None:
        data = entry.data
        self._updates.labels("kept", "").inc(data["updates"])
        self._empty.inc(int(data["is_empty"]))
        if self._last_block_ms and not data["caught_up"]:
            self._interval.observe((entry.time_ms - self._last_block_ms) / 1000)
        self._last_block_ms = entry.time_ms

    def _reason(self, text: str) -> str:
        """Return a label for a reason: its words up to the first number, of a bounded set."""
        words = _NO_WORD.sub("", text).strip()[:REASON_LETTERS_MAX] or "other"
        if words not in self._reasons and len(self._reasons) >= REASONS_MAX:
            return "other"
        self._reasons.add(words)
        return words

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(f"p2pfed_{name}", help_text, labels, registry=self._registry)

    def _histogram(self, name: str, help_text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"p2pfed_{name}", help_text, buckets=buckets, registry=self._registry)
