"""Blobs of several chunks, pulled from one peer and proven chunk by chunk."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
from support.tiny_chain import KEYS, found

from p2pfed.errors import InvalidLightBlock
from p2pfed.net.transport import TransportError
from p2pfed.primitives import codec
from p2pfed.primitives.merkle import CHUNK_BYTES, chunk_root
from p2pfed.runtime.light_source import Source
from p2pfed.runtime.server import Server
from p2pfed.storage.home import Home
from p2pfed.storage.store import Store
from p2pfed.types.address import Multiaddr
from p2pfed.types.wire import Chunk, GetChunk, decode_request, decode_response

BLOB = random.Random(7).randbytes(2 * CHUNK_BYTES + 40_000)
PEER = KEYS[1].public


class Line:
    """A transport to one server; `twist` makes of an answer what it likes."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.twist: Any = lambda request, answer: answer

    async def request(self, peer: bytes, data: bytes, *, timeout_ms: int) -> bytes:
        answer = decode_response(await self._server(peer, data))
        return codec.encode(self.twist(decode_request(data), answer))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    made = found(Home(tmp_path_factory.mktemp("source") / "home"))
    made.blobs.put(BLOB)
    yield made
    made.close()


@pytest.fixture
def line(store: Store) -> Iterator[Line]:
    with ThreadPoolExecutor(1) as disk:
        yield Line(Server(store, disk, lambda _: True))


def source(line: Line) -> Source:
    return Source(line, PEER, Multiaddr("127.0.0.1", 7400))  # type: ignore[arg-type]


async def test_a_blob_of_three_chunks_comes_whole_and_tells_of_each(line: Line) -> None:
    steps: list[tuple[int, int]] = []
    assert await source(line).blob(chunk_root(BLOB), len(BLOB), lambda *step: steps.append(step)) == BLOB
    assert steps == [(1, 3), (2, 3), (3, 3)]


async def test_the_first_bad_chunk_ends_it(line: Line) -> None:
    asked: list[int] = []

    def swap(request: GetChunk, answer: Chunk) -> Chunk:
        asked.append(request.index)
        return answer if request.index != 1 else msgspec.structs.replace(answer, data=BLOB[:CHUNK_BYTES])

    line.twist = swap
    with pytest.raises(InvalidLightBlock, match="chunk 1 of 3 is not under"):
        await source(line).blob(chunk_root(BLOB), len(BLOB))
    assert asked == [0, 1]


async def test_a_chunk_of_another_count_or_none_is_no_chunk(line: Line) -> None:
    line.twist = lambda _, answer: msgspec.structs.replace(answer, count=4)
    with pytest.raises(InvalidLightBlock, match="chunk 0 of 3"):
        await source(line).blob(chunk_root(BLOB), len(BLOB))
    line.twist = lambda _, answer: answer
    with pytest.raises(TransportError, match=r"it has no chunk 0 of 0000"):
        await source(line).blob(bytes(32), 10)
