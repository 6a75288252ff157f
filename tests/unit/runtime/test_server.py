from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.tiny_chain import found, genesis, keep, steps

from p2pfed.errors import MalformedMessage
from p2pfed.primitives import codec
from p2pfed.primitives.merkle import chunk_root
from p2pfed.runtime.server import Server
from p2pfed.storage.home import Home
from p2pfed.storage.store import Store
from p2pfed.types.wire import (
    Blocks,
    BulkRequest,
    BulkResponse,
    Chunk,
    GenesisBytes,
    GetBlocks,
    GetChunk,
    GetGenesis,
    Missing,
    decode_response,
)

PEER = b"\2" * 33


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = found(Home(tmp_path / "home"))
    for step in steps(3):
        keep(made, step)
    yield made
    made.close()


@pytest.fixture
def disk() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


async def asked(server: Server, request: BulkRequest) -> BulkResponse:
    return decode_response(await server(PEER, codec.encode(request)))


async def test_a_store_serves_genesis_blocks_and_chunks(store: Store, disk: ThreadPoolExecutor) -> None:
    server, payload = Server(store, disk, lambda _: True), steps(3)[2].payloads[0]
    assert await asked(server, GetGenesis()) == GenesisBytes(codec.encode(genesis()))
    assert await asked(server, GetBlocks(2, 16)) == Blocks(tuple(step.block for step in steps(3)[1:]))
    chunk = await asked(server, GetChunk(chunk_root(payload), 0))
    assert isinstance(chunk, Chunk)
    assert chunk.data == payload
    assert server.served_bytes > len(payload)


async def test_what_is_not_here_is_missing(store: Store, disk: ThreadPoolExecutor) -> None:
    server = Server(store, disk, lambda _: True)
    assert await asked(server, GetBlocks(4, 1)) == Missing()
    assert await asked(server, GetChunk(bytes(32), 0)) == Missing()
    assert await asked(server, GetChunk(chunk_root(steps(3)[2].payloads[0]), 1)) == Missing()


async def test_a_liar_may_withhold_what_it_has(store: Store, disk: ThreadPoolExecutor) -> None:
    root = chunk_root(steps(3)[2].payloads[0])
    server = Server(store, disk, lambda asked_for: asked_for != root)
    assert await asked(server, GetChunk(root, 0)) == Missing()


async def test_what_is_no_request_is_the_askers_fault(store: Store, disk: ThreadPoolExecutor) -> None:
    with pytest.raises(MalformedMessage):
        await Server(store, disk, lambda _: True)(PEER, b"give me all")
