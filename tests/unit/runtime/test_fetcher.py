"""Fetches over a fake transport whose peers answer, lie, lack and leave."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest
from support.tiny_chain import Step, found, keep, steps

from p2pfed.errors import BadChunk, MalformedMessage
from p2pfed.net.transport import TransportError
from p2pfed.node.effects import FetchBlocks, FetchBody, FetchModel, FetchPayload
from p2pfed.node.events import (
    BlocksFetched,
    BodyFetched,
    Event,
    ModelFetched,
    PayloadFetched,
    PeerMisbehaved,
)
from p2pfed.primitives import codec
from p2pfed.primitives.merkle import (
    CHUNK_BYTES,
    chunk_hash,
    chunk_hashes,
    chunk_root,
    path_of_hashes,
    root_of_hashes,
)
from p2pfed.runtime import fetcher
from p2pfed.runtime.fetcher import Fetcher
from p2pfed.runtime.fresh import Fresh
from p2pfed.runtime.server import Server
from p2pfed.storage.home import Home
from p2pfed.storage.store import Store
from p2pfed.types.address import Multiaddr
from p2pfed.types.wire import Chunk, GenesisBytes, GetChunk, Missing, decode_request

OWN, GOOD, BAD = b"\1" * 33, b"\2" * 33, b"\3" * 33
Answer = Callable[[bytes, bytes], Awaitable[bytes]]


class FakeTransport:
    """Peers by what they answer; an exception in place of bytes is raised."""

    def __init__(self) -> None:
        self.answers: dict[bytes, Answer | bytes | Exception] = {}
        self.asked: list[bytes] = []
        self.patience_ms: list[int] = []

    def peers(self) -> dict[bytes, Multiaddr | None]:
        return dict.fromkeys(self.answers)

    async def request(self, peer: bytes, data: bytes, *, timeout_ms: int) -> bytes:
        self.asked.append(peer)
        self.patience_ms.append(timeout_ms)
        answer = self.answers.get(peer, TransportError("there is no pipe"))
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, bytes) else await answer(OWN, data)


class World:
    """A peer with nothing but genesis, a fetcher, and GOOD, who has all of three heights."""

    def __init__(self, folder: Path, tasks: asyncio.TaskGroup) -> None:
        self.disk, self.bulk, self.fresh = ThreadPoolExecutor(1), ThreadPoolExecutor(1), Fresh()
        self.store, self.full = found(Home(folder / "own")), found(Home(folder / "good"))
        for step in steps(3):
            keep(self.full, step)
        self.transport = FakeTransport()
        self.transport.answers[GOOD] = Server(self.full, self.disk, lambda _: True)
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        put = self.events.put_nowait
        self.fetcher = Fetcher(self.store, self.transport, self.disk, self.bulk, put, self.fresh)
        self.fetcher.run_in(tasks)

    async def event(self) -> Event:
        async with asyncio.timeout(10):
            return await self.events.get()


class _Over(Exception):
    pass


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    stores: list[Store] = []
    try:
        async with asyncio.TaskGroup() as tasks:
            made = World(tmp_path, tasks)
            stores += [made.store, made.full]
            yield made
            raise _Over
    except* _Over:
        pass
    made.disk.shutdown()
    made.bulk.shutdown()
    for store in stores:
        store.close()


def payload_of(step: Step) -> FetchPayload:
    return FetchPayload(step.block.body.updates[0], (BAD, GOOD))


LIES: list[tuple[bytes | Exception, type[Exception] | None]] = [
    (TransportError("it left"), None),
    (codec.encode(Missing()), None),
    (b"\xc1", MalformedMessage),
    (codec.encode(GenesisBytes(b"x")), MalformedMessage),
    (codec.encode(Chunk(1, b"other bytes", ())), BadChunk),
]


@pytest.mark.parametrize(("lie", "fault"), LIES)
async def test_a_payload_comes_from_the_next_holder_where_the_first_fails(
    world: World, lie: bytes | Exception, fault: type[Exception] | None
) -> None:
    world.transport.answers = {BAD: lie, **world.transport.answers}
    asked = payload_of(steps(3)[0])
    world.fetcher.payload(asked)
    if fault is not None:
        blamed = await world.event()
        assert isinstance(blamed, PeerMisbehaved)
        assert (blamed.peer, type(blamed.fault)) == (BAD, fault)
    assert await world.event() == PayloadFetched(asked.header.update_id, True)
    assert world.store.blobs.has(asked.header.payload_root)


@pytest.mark.parametrize(("lie", "fault"), LIES[:4])
async def test_bad_blocks_cost_the_sender_and_end_the_question(
    world: World, lie: bytes | Exception, fault: type[Exception] | None
) -> None:
    world.transport.answers[BAD] = lie
    world.fetcher.blocks(FetchBlocks(BAD, 1))
    if fault is not None:
        blamed = await world.event()
        assert isinstance(blamed, PeerMisbehaved)
        assert blamed.peer == BAD
    assert await world.event() == BlocksFetched(BAD, (), is_missing=lie == codec.encode(Missing()))


async def test_no_payload_waits_for_the_disk_of_votes_and_no_vote_for_a_payload(world: World) -> None:
    asked, is_free = payload_of(steps(3)[0]), threading.Event()
    world.transport.answers[GOOD] = Server(world.full, world.bulk, lambda _: True)
    world.disk.submit(is_free.wait)
    try:
        world.fetcher.payload(asked)
        assert await world.event() == PayloadFetched(asked.header.update_id, True)
    finally:
        is_free.set()
    assert chunk_root(world.fresh.get(asked.header.payload_root) or b"") == asked.header.payload_root


async def test_a_body_is_held_in_memory_until_its_check_makes_it_durable(world: World) -> None:
    block = steps(3)[2].block
    world.fetcher.body(FetchBody(block.header, (GOOD,)))
    assert await world.event() == BodyFetched(block.header, block.body)
    assert not world.store.blobs.has(block.header.body_hash)
    assert world.fresh.get(block.header.body_hash) == codec.encode(block.body)
    world.transport.answers.clear()  # Asked for again it needs nobody.
    world.fetcher.body(FetchBody(block.header, (GOOD,)))
    assert await world.event() == BodyFetched(block.header, block.body)


async def test_blocks_a_body_and_a_model_come_as_they_were_stored(world: World) -> None:
    step = steps(3)[2]
    world.fetcher.blocks(FetchBlocks(GOOD, 2))
    assert await world.event() == BlocksFetched(GOOD, tuple(made.block for made in steps(3)[1:]))
    world.fetcher.body(FetchBody(step.block.header, (GOOD,)))
    assert await world.event() == BodyFetched(step.block.header, step.block.body)
    world.fetcher.model(FetchModel(step.block.header, (GOOD,)))
    fetched = await world.event()
    assert isinstance(fetched, ModelFetched)
    assert fetched.model is not None
    assert (fetched.height, fetched.model.root) == (3, step.block.header.model_root)
    assert world.store.blobs.has(step.block.header.model_root)


async def test_a_fetched_model_is_read_and_hashed_beside_the_event_loop(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, load = [], world.store.blobs.load_weights

    def note(root: bytes) -> object:
        threads.append(threading.current_thread())
        return load(root)

    monkeypatch.setattr(world.store.blobs, "load_weights", note)
    world.fetcher.model(FetchModel(steps(3)[2].block.header, (GOOD,)))
    assert isinstance(await world.event(), ModelFetched)
    assert threads
    assert threading.current_thread() not in threads


async def test_a_root_over_pieces_that_no_store_would_cut_names_no_blob(world: World) -> None:
    pieces = (b"a", b"b")
    hashes = [chunk_hash(piece) for piece in pieces]

    async def answer(peer: bytes, data: bytes) -> bytes:
        request = decode_request(data)
        assert isinstance(request, GetChunk)
        return codec.encode(Chunk(2, pieces[request.index], path_of_hashes(hashes, request.index)))

    world.transport.answers = {BAD: answer}
    header = msgspec.structs.replace(steps(1)[0].block.header, body_hash=root_of_hashes(hashes))
    world.fetcher.body(FetchBody(header, (BAD,)))
    blamed = await world.event()
    assert isinstance(blamed, PeerMisbehaved)
    assert root_of_hashes(hashes) not in world.store.blobs.roots()


async def test_a_large_payload_comes_whole_in_whatever_order_its_chunks_come(world: World) -> None:
    count, order = 21, list[int]()
    data = np.random.default_rng(1).bytes((count - 1) * CHUNK_BYTES + 5)
    root, is_out = world.full.blobs.put(data), [asyncio.Event() for _ in range(count)]
    serve = Server(world.full, world.disk, lambda _: True)

    async def backwards(peer: bytes, asked: bytes) -> bytes:
        """Answer a whole window of requests, the last one first."""
        request = decode_request(asked)
        assert isinstance(request, GetChunk)
        index = request.index
        if index and index % fetcher.WINDOW and index + 1 < count:
            await is_out[index + 1].wait()
        is_out[index].set()
        order.append(index)
        return await serve(peer, asked)

    world.transport.answers[GOOD] = backwards
    blob = await world.fetcher._from(GOOD, root, len(data), fetcher.FIRST_CHUNK_MS)
    assert blob is not None
    assert order[:9] == [0, *range(8, 0, -1)]
    assert (blob.data == data, blob.hashes) == (True, tuple(chunk_hashes(data)))


async def test_a_fetch_waits_for_a_holder_and_hears_of_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetcher, "RETRY_FIRST_MS", 3_600_000)
    good = world.transport.answers.pop(GOOD)
    asked = payload_of(steps(3)[0])
    world.fetcher.payload(asked)
    for _ in range(10):  # Until it has asked everybody in vain.
        await asyncio.sleep(0)
    world.transport.answers[GOOD] = good
    first = world.fetcher._fetches[asked.header.update_id].task
    world.fetcher.payload(asked)  # Somebody announces it again: no second fetch, but news for the first.
    assert world.fetcher._fetches[asked.header.update_id].task is first
    assert await world.event() == PayloadFetched(asked.header.update_id, True)
    assert world.events.empty()


async def test_a_holder_that_hangs_is_left_for_another_soon_and_given_longer_each_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopped peer must not hold up what others have too, and a slow link must come through at last."""
    monkeypatch.setattr(fetcher, "RETRY_FIRST_MS", 0)
    monkeypatch.setattr(fetcher, "RETRY_MAX_MS", 0)
    good = world.transport.answers.pop(GOOD)
    is_tried = asyncio.Event()

    async def hangs(_: bytes, __: bytes) -> bytes:
        if len(world.transport.asked) == 6:
            is_tried.set()
        raise TransportError("no answer within the deadline")

    world.transport.answers[BAD] = hangs
    world.fetcher.payload(payload_of(steps(3)[0]))
    async with asyncio.timeout(10):
        await is_tried.wait()
    assert world.transport.patience_ms[:6] == [1_000, 2_000, 4_000, 8_000, 10_000, 10_000]
    world.transport.answers[GOOD] = good
    assert isinstance(await world.event(), PayloadFetched)


async def test_what_a_final_height_needed_is_given_up(world: World) -> None:
    world.transport.answers.clear()
    first, second = payload_of(steps(3)[0]), payload_of(steps(3)[1])
    world.fetcher.payload(first)
    world.fetcher.payload(second)
    world.fetcher.passed(1)
    assert list(world.fetcher._fetches) == [second.header.update_id]


async def test_we_never_ask_ourselves(world: World) -> None:
    asked = payload_of(steps(3)[0])
    world.fetcher.payload(FetchPayload(asked.header, (OWN, GOOD)))
    await world.event()
    assert OWN not in world.transport.asked
