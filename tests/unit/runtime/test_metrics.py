"""What a peer counts for Prometheus, and that nobody can make it count without end."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.pages import ROOT, first_cells, guide, section

from p2pfed.primitives import codec
from p2pfed.runtime.feed import Entry
from p2pfed.runtime.metrics import LAG_EVERY_S, REASONS_MAX, PeerMetrics
from p2pfed.runtime.traffic import KINDS, CountedTransport, Traffic
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import GetGenesis, Missing

STATUS: dict[str, Any] = {
    "height": 9, "round": 1, "updates_held": 2, "updates_expected": 4, "is_halted": True,
    "stake_connected": 20, "stake_total": 80, "peers": [{"is_connected": True}, {"is_connected": False}],
}  # fmt: skip
BLOCK = {"height": 9, "updates": 3, "is_empty": False, "caught_up": False}
SAMPLE = re.compile(r"^(p2pfed_\w+?)(?:\{(.*)\})? (\S+)$", re.M)


def metrics(traffic: Traffic | None = None) -> PeerMetrics:
    return PeerMetrics(traffic or Traffic(), lambda: STATUS)


def samples(of: PeerMetrics) -> dict[tuple[str, str], float]:
    return {(name, labels): float(value) for name, labels, value in SAMPLE.findall(of.text().decode())}


def test_where_a_peer_stands_is_read_when_somebody_asks() -> None:
    found = samples(metrics())
    wanted = {"height": 9, "round": 1, "updates_held": 2, "updates_expected": 4, "halted": 1,
              "stake_online_ratio": 0.25, "peers_connected": 1}  # fmt: skip
    assert {name: found[f"p2pfed_{name}", ""] for name in wanted} == wanted


def test_updates_are_counted_by_what_became_of_them() -> None:
    counting = metrics()
    counting.listen(Entry(1_000, "block.committed", BLOCK))
    counting.listen(Entry(1_400, "block.committed", {**BLOCK, "updates": 2}))
    counting.listen(Entry(1_500, "block.committed", {**BLOCK, "is_empty": True, "updates": 0}))
    counting.listen(Entry(1_500, "update.refused", {"reason": "norm 3.1e13 is above 1.8e13"}))
    counting.listen(Entry(1_500, "update.skipped", {"reason": ""}))
    found = samples(counting)
    assert found["p2pfed_updates_total", 'reason="",result="kept"'] == 5
    assert found["p2pfed_updates_total", 'reason="norm",result="refused"'] == 1
    assert found["p2pfed_updates_total", 'reason="other",result="skipped"'] == 1
    assert found["p2pfed_blocks_without_model_total", ""] == 1
    assert found["p2pfed_block_interval_seconds_bucket", 'le="0.25"'] == 1
    assert found["p2pfed_block_interval_seconds_sum", ""] == pytest.approx(0.5)


def test_blocks_that_were_fetched_later_are_no_intervals() -> None:
    counting = metrics()
    for time_ms in (1_000, 1_001, 1_002):
        counting.listen(Entry(time_ms, "block.committed", {**BLOCK, "caught_up": True}))
    assert samples(counting)["p2pfed_block_interval_seconds_count", ""] == 0


def test_a_liar_that_finds_new_words_makes_no_new_series() -> None:
    counting = metrics()
    for number in range(10 * REASONS_MAX):
        word = "".join(chr(ord("a") + int(digit)) for digit in str(number))
        counting.listen(Entry(1, "update.refused", {"reason": word}))
    reasons = [labels for name, labels in samples(counting) if name == "p2pfed_updates_total"]
    assert len(reasons) == REASONS_MAX + 1  # And all the others together.


def test_lies_and_faults_are_counted_and_figures_kept_until_newer_ones_come() -> None:
    counting = metrics()
    counting.listen(Entry(1, "peer.equivocated", {"kind": "E1"}))
    counting.listen(Entry(1, "peer.fault", {}))
    counting.listen(Entry(1, "peer.blamed", {}))
    counting.listen(Entry(1, "proposal.refused", {}))
    counting.listen(Entry(1, "block.evaluated", {"height": 3, "acc(public)": 0.75, "loss": 0.5}))
    counting.listen(Entry(2, "block.evaluated", {"height": 4}))
    found = samples(counting)
    assert found["p2pfed_evidence_total", 'kind="E1"'] == 1
    assert found["p2pfed_peer_faults_total", ""] == 2
    assert found["p2pfed_proposals_refused_total", ""] == 1
    assert found["p2pfed_figure", 'name="acc_public"'] == 0.75
    assert found["p2pfed_figure", 'name="loss"'] == 0.5


class Inside:
    """A transport that answers everything with Missing; a peer of one byte has no pipe."""

    name = "test"

    def send(self, peer: bytes, data: bytes) -> bool:
        return len(peer) > 1

    async def request(self, peer: bytes, data: bytes, *, timeout_ms: int) -> bytes:
        return codec.encode(Missing())

    def peers(self) -> Mapping[bytes, None]:
        return {b"ab": None}


VOTES = (Prevote(1, 0, bytes(32), -1, 0, bytes(64)), Precommit(1, 0, bytes(32), 0, bytes(64)))


async def test_traffic_is_counted_by_direction_and_kind() -> None:
    traffic = Traffic()
    transport = CountedTransport(Inside(), traffic)  # type: ignore[arg-type]
    prevote, precommit = (codec.encode(vote) for vote in VOTES)
    assert transport.send(b"ab", prevote)
    assert not transport.send(b"a", precommit)  # What did not go is not counted.
    traffic.add("in", precommit)
    for data in (b"", b"\x93", b"\x93\xc1garbage"):
        traffic.add("in", data)
    question = codec.encode(GetGenesis())
    assert await transport.request(b"ab", question, timeout_ms=1) == codec.encode(Missing())
    found = samples(metrics(traffic))
    assert found["p2pfed_message_bytes_total", 'direction="out",type="Prevote"'] == len(prevote)
    assert found["p2pfed_messages_total", 'direction="in",type="other"'] == 3
    assert found["p2pfed_message_bytes_total", 'direction="out",type="GetGenesis"'] == len(question)
    assert found["p2pfed_messages_total", 'direction="in",type="Missing"'] == 1
    assert found["p2pfed_votes_total", 'result="sent",type="prevote"'] == 1
    assert found["p2pfed_votes_total", 'result="received",type="precommit"'] == 1
    assert ("p2pfed_votes_total", 'result="sent",type="precommit"') not in found


def test_every_kind_of_message_has_a_name() -> None:
    for vote in VOTES:
        assert KINDS[codec.encode(vote)[1]] == type(vote).__name__


async def test_the_lag_of_the_loop_is_measured() -> None:
    counting = metrics()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3 * LAG_EVERY_S):
            await counting.watch_loop()
    assert samples(counting)["p2pfed_event_loop_lag_seconds_count", ""] >= 1


def names() -> set[str]:
    """Return the names of all series, as the page tells them: without what a histogram appends."""
    counting = metrics()
    text = counting.text().decode()
    kinds = re.findall(r"^# TYPE (p2pfed_\w+) (\w+)$", text, re.M)
    return {name for name, _ in kinds}


def test_the_page_tells_every_metric_and_nothing_else() -> None:
    page = section(guide("operating.md").read_text(encoding="utf-8"), "## Metrics")
    assert {name for name in first_cells(page) if name.startswith("p2pfed_")} == names()


def test_the_dashboard_draws_only_what_there_is() -> None:
    path = Path(ROOT, "bootstrap", "machines", "grafana.json")
    board = json.loads(path.read_text(encoding="utf-8"))
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    used = {
        re.sub(r"_(bucket|sum|count)$", "", name)
        for query in queries
        for name in re.findall(r"p2pfed_\w+", query)
    }
    assert used <= names()
    assert len(used) >= 10
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
