"""One blob from many holders: shared among them, past liars, the slow and the empty-handed, into one file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from p2pfed.errors import BadChunk, PeerFault
from p2pfed.net.transport import TransportError
from p2pfed.primitives import codec
from p2pfed.primitives.merkle import CHUNK_BYTES, chunk_root
from p2pfed.runtime.pull import pull_blob
from p2pfed.storage.blob_store import BlobStore, chunk_of_bytes
from p2pfed.types.wire import Chunk, GetChunk, Missing, decode_request

A, B, C = b"\2" * 33, b"\3" * 33, b"\4" * 33
DATA = Random(3).randbytes(20 * CHUNK_BYTES + 7)
ROOT = chunk_root(DATA)

Answer = Callable[[Chunk], bytes]


def honest(chunk: Chunk) -> bytes:
    return codec.encode(chunk)


def spoilt(chunk: Chunk) -> bytes:
    return codec.encode(Chunk(chunk.count, bytes([chunk.data[0] ^ 1]) + chunk.data[1:], chunk.path))


def empty(_: Chunk) -> bytes:
    return codec.encode(Missing())


def gone(_: Chunk) -> bytes:
    raise TransportError("it left")


class Peers:
    """A transport whose peers answer as told, and which counts what each was asked."""

    def __init__(self, **answers: Answer) -> None:
        self.answers = {{"a": A, "b": B, "c": C}[name]: answer for name, answer in answers.items()}
        self.asked: dict[bytes, int] = dict.fromkeys(self.answers, 0)
        self.blamed: list[tuple[bytes, PeerFault]] = []

    async def request(self, peer: bytes, data: bytes, *, timeout_ms: int) -> bytes:
        await asyncio.sleep(0)
        asked = decode_request(data)
        assert isinstance(asked, GetChunk)
        assert asked.root == ROOT
        self.asked[peer] += 1
        chunk = chunk_of_bytes(DATA, asked.index)
        assert chunk is not None
        return self.answers[peer](chunk)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    store = BlobStore(tmp_path)
    store.open()
    return store


@pytest.fixture
def disk() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


async def pulled(
    peers: Peers, blobs: BlobStore, disk: ThreadPoolExecutor, *, is_kept: bool = False, patience_ms: int = 0
) -> bool:
    return await pull_blob(
        blobs,
        ROOT,
        len(DATA),
        transport=peers,  # type: ignore[arg-type]
        disk=disk,
        holders=lambda: tuple(peers.answers),
        liars=set(),
        blame=lambda peer, fault: peers.blamed.append((peer, fault)),
        patience_ms=patience_ms,
        is_kept=is_kept,
    )


async def test_holders_share_the_work(blobs: BlobStore, disk: ThreadPoolExecutor) -> None:
    peers = Peers(a=honest, b=honest)
    assert await pulled(peers, blobs, disk)
    assert blobs.load(ROOT) == DATA
    assert sum(peers.asked.values()) == 21  # No chunk is asked for twice.
    assert min(peers.asked.values()) > 3
    assert list((blobs.folder / "tmp").iterdir()) == []


@pytest.mark.parametrize("other", [empty, gone])
async def test_whoever_has_nothing_is_left_out_and_not_blamed(
    other: Answer, blobs: BlobStore, disk: ThreadPoolExecutor
) -> None:
    peers = Peers(a=other, b=honest)
    assert await pulled(peers, blobs, disk)
    assert peers.blamed == []


async def test_a_liar_is_blamed_once_at_its_first_bad_chunk(
    blobs: BlobStore, disk: ThreadPoolExecutor
) -> None:
    peers = Peers(a=spoilt, b=honest, c=honest)
    assert await pulled(peers, blobs, disk)
    assert [(peer, type(fault)) for peer, fault in peers.blamed] == [(A, BadChunk)]
    assert peers.asked[A] <= 8  # What was under way when the first one came.
    assert blobs.load(ROOT) == DATA


async def test_what_has_come_is_kept_for_the_next_try_only_where_that_is_wanted(
    blobs: BlobStore, disk: ThreadPoolExecutor
) -> None:
    served = iter(range(5))

    def tires(chunk: Chunk) -> bytes:
        return honest(chunk) if next(served, None) is not None else gone(chunk)

    assert not await pulled(Peers(a=tires), blobs, disk, is_kept=True)
    peers = Peers(b=honest)
    assert await pulled(peers, blobs, disk)
    assert peers.asked[B] == 21 - 5
    assert blobs.load(ROOT) == DATA


async def test_without_any_holder_nothing_is_left_behind(blobs: BlobStore, disk: ThreadPoolExecutor) -> None:
    assert not await pulled(Peers(a=empty), blobs, disk)
    assert list((blobs.folder / "tmp").iterdir()) == []
    assert blobs.roots() == ()
