"""What the pages ask for: a long history in one message, one block with its votes, a map of updates."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from starlette import routing
from support.chain import World

from p2pfed.errors import StorageFault
from p2pfed.primitives.digest import sha256
from p2pfed.runtime.block_pages import COLUMNS, HISTORY_BLOCKS_MAX, MAP_SAMPLE_MAX, update_map
from p2pfed.runtime.feed import Entry, Feed
from p2pfed.types.address import peer_id
from p2pfed.types.block import Block
from p2pfed.types.certificate import PolkaCert
from p2pfed.web.app import make_app
from p2pfed.web.pages import FILES

PORT = 8400


class Chain:
    """Blocks by height; `asked` notes each that was read."""

    def __init__(self) -> None:
        self.blocks: dict[int, Block] = {}
        self.kept: tuple[PolkaCert, ...] = ()
        self.asked: list[int] = []

    def block(self, height: int) -> Block | None:
        self.asked.append(height)
        return self.blocks.get(height)

    def polkas(self, height: int) -> tuple[PolkaCert, ...]:
        return self.kept


class Peer:
    """A host with a chain, as far as the pages look at one."""

    def __init__(self, heights: int = 2) -> None:
        self.world, self.chain = World((10, 20, 30, 40)), Chain()
        for _ in range(heights):
            block = self.world.advance()
            self.chain.blocks[block.header.height] = block
        self.payloads: dict[bytes, np.ndarray] = {}

        @contextmanager
        def snapshot() -> Iterator[Chain]:
            yield self.chain

        self.host: Any = SimpleNamespace(
            feed=Feed(),
            node=SimpleNamespace(state=self.world.state, work=None, is_finished=False),
            store=SimpleNamespace(snapshot=snapshot, genesis=self.world.genesis),
            payload=self.payload,
        )

    def payload(self, update: Any) -> np.ndarray:
        if update.trainer not in self.payloads:
            raise StorageFault("the payload is gone")
        return self.payloads[update.trainer]


@asynccontextmanager
async def asking(peer: Peer) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=make_app(peer.host, PORT, "0" * 64))
    async with httpx.AsyncClient(transport=transport, base_url=f"http://127.0.0.1:{PORT}") as client:
        yield client


@pytest.mark.parametrize("path", FILES)
async def test_every_file_of_the_pages_is_served_under_a_strict_policy(path: str) -> None:
    async with asking(Peer(0)) as client:
        answer = await client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(FILES[path][1])
    (policy,) = answer.headers.get_list("content-security-policy")
    assert "default-src 'none'; script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "http://" not in answer.text.replace("http://www.w3.org/", "")
    assert "https://" not in answer.text


async def test_history_has_a_row_for_each_block_and_reads_each_once() -> None:
    peer = Peer(3)
    peer.host.feed.keep_figures(2, {"acc": 0.5})
    async with asking(peer) as client:
        first = (await client.get("/v1/history")).json()
        again = (await client.get("/v1/history?after=2")).json()
        odd = (await client.get("/v1/history?after=x")).json()
    assert first["columns"] == list(COLUMNS)
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in first["blocks"]]
    for row in rows:
        block = peer.chain.blocks[row["height"]]
        assert (row["time_ms"], row["updates"]) == (block.header.time_ms, len(block.body.updates))
        assert row["signatures"] == len(block.commit.signatures)
    assert [row["height"] for row in rows] == [1, 2, 3]
    assert first["figures"] == {"2": {"acc": 0.5}}
    assert [row[0] for row in again["blocks"]] == [3]
    assert odd["blocks"] == first["blocks"]
    assert peer.chain.asked == [1, 2, 3]


async def test_blocks_that_are_not_here_are_looked_for_once_and_a_huge_number_never() -> None:
    peer = Peer(4)
    for height in (1, 2):  # It joined by state.
        del peer.chain.blocks[height]
    async with asking(peer) as client:
        for _ in range(2):
            rows = (await client.get("/v1/history")).json()["blocks"]
        huge = await client.get(f"/v1/blocks/{10**30}")
    assert [row[0] for row in rows] == [3, 4]
    assert peer.chain.asked == [1, 2, 3, 4]
    assert huge.status_code == 404


async def test_a_thousand_blocks_are_less_than_200_kilobytes_and_older_ones_are_left_out() -> None:
    peer = Peer(1)
    (block,) = peer.chain.blocks.values()
    tip = 12_345
    peer.chain.blocks = dict.fromkeys(range(1, tip + 1), block)
    peer.host.node.state = SimpleNamespace(height=tip)
    for height in range(tip - HISTORY_BLOCKS_MAX, tip + 1):
        peer.host.feed.keep_figures(height, {"acc(public)": 0.9123456789012345, "loss(local)": 0.123456789})
    async with asking(peer) as client:
        answer = await client.get("/v1/history")
    assert len(peer.chain.asked) == len(answer.json()["figures"]) == HISTORY_BLOCKS_MAX
    assert min(peer.chain.asked) == tip - HISTORY_BLOCKS_MAX + 1
    assert len(answer.content) < 200_000


async def test_a_block_shows_who_voted_and_the_fate_of_each_update() -> None:
    peer = Peer(1)
    world = peer.world
    header, body, after = world.build(headers=[world.update(1)])
    commit = world.certify(header)
    peer.chain.blocks[2] = Block(header, body, commit)
    peer.chain.kept = (
        PolkaCert(2, commit.round, header.value_id, -1, bytes([0b0101]), (bytes(64),) * 2),
        PolkaCert(2, commit.round, sha256(b"another"), -1, bytes([0b1111]), (bytes(64),) * 4),
    )
    peer.host.node.state = after
    late = peer_id(world.publics[2])
    peer.host.feed.publish(Entry(1, "update.refused", {"height": 2, "trainer": late, "reason": "too late"}))
    peer.host.feed.publish(Entry(1, "update.refused", {"height": 1, "trainer": late, "reason": "older"}))
    async with asking(peer) as client:
        shown = (await client.get("/v1/blocks/2")).json()
        missing = await client.get("/v1/blocks/3")
        wrong = await client.get("/v1/blocks/x")
    assert [row["trainer"] for row in shown["updates"]] == [peer_id(world.publics[1])]
    assert set(shown["without"]) == {peer_id(key) for key in after.trainers} - {peer_id(world.publics[1])}
    assert shown["refused"] == {late: "too late"}
    assert [vote["prevote"] for vote in shown["votes"]] == [True, False, True, False]
    signed = [bool(commit.bitmap[0] >> place & 1) for place in range(4)]
    assert [vote["precommit"] for vote in shown["votes"]] == signed
    assert {vote["id"] for vote in shown["votes"]} == {peer_id(key) for key in world.publics}
    assert (missing.status_code, missing.text) == (404, "there is no block 3; the newest is 2\n")
    assert wrong.status_code == 404


async def test_a_block_of_a_set_that_is_forgotten_has_votes_without_names() -> None:
    peer = Peer(2)
    other = World((1, 1, 1, 1)).state
    peer.host.node.state = SimpleNamespace(
        height=2, validators=other.validators, last_validators=other.validators, trainers=()
    )
    async with asking(peer) as client:
        votes = (await client.get("/v1/blocks/1")).json()["votes"]
    assert votes
    assert all(vote["id"] == "" and vote["precommit"] for vote in votes)


async def test_the_map_shows_who_is_large_and_who_is_against_the_others() -> None:
    peer = Peer(0)
    world = peer.world
    updates = [world.update(place) for place in range(3)]
    header, body, after = world.build(headers=updates)
    peer.chain.blocks[1] = Block(header, body, world.certify(header))
    peer.host.node.state = after
    size = world.genesis.manifest.size
    peer.payloads = {
        key: np.full(size, value, np.int16) for key, value in zip(world.publics, (5, 5, -20), strict=False)
    }
    async with asking(peer) as client:
        found = (await client.get("/v1/updates")).json()
    place = found["trainers"].index(peer_id(world.publics[2]))
    assert [row[place] for row in found["cosines"]] == [1.0 if row == place else -1.0 for row in range(3)]
    assert found["norms"][place] == pytest.approx(4 * min(found["norms"]), rel=1e-3)
    assert (found["height"], found["is_sampled"]) == (1, False)


async def test_a_block_without_updates_leaves_the_map_of_the_last_that_had_some() -> None:
    peer = Peer(0)
    world = peer.world
    peer.chain.blocks[1] = world.advance(headers=[world.update(0), world.update(1)])
    size = world.genesis.manifest.size
    peer.payloads = {key: np.full(size, 5, np.int16) for key in world.publics}
    async with asking(peer) as client:
        peer.host.node.state = world.state
        first = (await client.get("/v1/updates")).json()
        peer.chain.blocks[2] = world.advance(headers=[])
        peer.host.node.state = world.state
        second = (await client.get("/v1/updates")).json()
    assert world.state.height == 2
    assert not peer.chain.blocks[2].body.updates
    assert first["height"] == 1
    assert second == first


async def test_without_an_update_or_its_payload_there_is_no_map() -> None:
    async with asking(Peer(0)) as client:
        nothing = await client.get("/v1/updates")
    peer = Peer(1)
    assert peer.chain.blocks[1].body.updates
    async with asking(peer) as client:
        gone = await client.get("/v1/updates")
    assert (nothing.status_code, nothing.text) == (404, "the newest block has no update\n")
    assert (gone.status_code, gone.text) == (404, "the payload is gone\n")


def test_the_map_of_a_large_model_is_measured_on_a_sample() -> None:
    peer = Peer(1)
    size = 3 * MAP_SAMPLE_MAX
    group = SimpleNamespace(slice=slice(0, size))
    genesis: Any = SimpleNamespace(manifest=SimpleNamespace(size=size, groups=(group,)))
    found = update_map(peer.chain.blocks[1], genesis, [2], lambda _: np.full(size, 8, np.int16))
    assert found.is_sampled
    assert found.norms[0] == pytest.approx(2 * size**0.5, rel=1e-3)


@pytest.mark.parametrize("path", [*FILES, "/v1/history", "/livez", "/metrics"])
async def test_a_request_needs_no_pool_of_threads(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading one takes 100 ms in the loop that votes, before the first page."""

    async def refuse(*_: object, **__: object) -> None:
        raise AssertionError(f"{path} is answered in a thread")

    monkeypatch.setattr(routing, "run_in_threadpool", refuse)
    peer = Peer(1)
    peer.host.metrics = SimpleNamespace(text=lambda: b"")
    async with asking(peer) as client:
        assert (await client.get(path)).status_code == 200
