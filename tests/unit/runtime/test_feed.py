from __future__ import annotations

import asyncio
import json
from typing import get_args

from p2pfed.node.facts import BlockCommitted, Fact, PeerBlamed
from p2pfed.primitives.keys import PrivateKey
from p2pfed.runtime import feed as module
from p2pfed.runtime.feed import BACKLOG_MAX, HISTORY_MAX, Entry, Feed, entry_of
from p2pfed.types.address import peer_id

KEY = PrivateKey(bytes([1]) * 32).public


def entry(number: int) -> Entry:
    return Entry(number, "test", {"number": number})


def test_every_fact_has_a_name() -> None:
    assert set(module._NAMES) == set(get_args(Fact))
    assert len(set(module._NAMES.values())) == len(module._NAMES)


def test_a_fact_becomes_plain_values_with_peers_by_their_id() -> None:
    blamed = entry_of(PeerBlamed(KEY, "why"), 7)
    assert blamed == Entry(7, "peer.blamed", {"peer": peer_id(KEY), "reason": "why"})
    block = entry_of(
        BlockCommitted(1, 0, b"\1" * 32, b"\2" * 32, "mean", 1, 1, 3, 4, 5, (KEY,), False, False), 7
    )
    assert block.data["trainers"] == [peer_id(KEY)]
    assert block.data["value_id"] == "01" * 32
    assert json.loads(json.dumps(block.as_json()))["schema"] == "p2pfed.event/1"


async def test_a_stream_offers_what_was_and_then_what_comes() -> None:
    feed = Feed()
    feed.publish(entry(1))
    with feed.stream() as entries:
        assert await anext(entries) == entry(1)
        waiting = asyncio.ensure_future(anext(entries))
        await asyncio.sleep(0)
        assert not waiting.done()
        feed.publish(entry(2))
        assert await waiting == entry(2)


async def test_a_slow_reader_loses_the_oldest_and_nobody_else_anything() -> None:
    feed, heard = Feed(), []
    feed.listen(heard.append)
    with feed.stream() as slow:
        for number in range(BACKLOG_MAX + 3):
            feed.publish(entry(number))
        assert await anext(slow) == entry(3)
    assert len(heard) == BACKLOG_MAX + 3
    assert feed.history == tuple(heard[-HISTORY_MAX:])


def test_a_closed_stream_is_forgotten() -> None:
    feed = Feed()
    with feed.stream():
        assert len(feed._streams) == 1
    assert not feed._streams


def test_figures_of_old_heights_are_dropped() -> None:
    feed = Feed()
    for height in range(1, HISTORY_MAX + 3):
        feed.keep_figures(height, {"loss": 0.1})
    assert min(feed.figures) == 3
