"""Pull blobs and blocks: one holder after the other, until they come or the height has passed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Executor
from typing import TypeVar

import numpy as np
from msgspec import Struct, field

from p2pfed.chain.form import payload_form
from p2pfed.chain.invalid_update import judge_payload
from p2pfed.errors import BadChunk, MalformedMessage, OutOfBounds, PeerFault
from p2pfed.net.transport import Transport, TransportError
from p2pfed.node.effects import FetchBlocks, FetchBody, FetchModel, FetchPayload
from p2pfed.node.events import BlocksFetched, BodyFetched, Event, ModelFetched, PayloadFetched, PeerMisbehaved
from p2pfed.primitives import codec
from p2pfed.primitives.merkle import CHUNK_BYTES, chunk_count, chunk_hash, has_chunk_hash, root_of_hashes
from p2pfed.runtime.fresh import Fresh
from p2pfed.runtime.pull import pull_blob
from p2pfed.storage.store import Store
from p2pfed.types.block import Block, Body, Header
from p2pfed.types.evidence import InvalidUpdate
from p2pfed.types.genesis import exponent_bytes, model_bytes
from p2pfed.types.model import ModelState
from p2pfed.types.params import BLOCKS_PER_RESPONSE_MAX, BODY_BYTES_MAX, KIB
from p2pfed.types.wire import Blocks, Chunk, GetBlocks, GetChunk, Missing, decode_response

T = TypeVar("T")

REQUEST_TIMEOUT_MS = 10_000  # A chunk of 1 MiB at 100 kB/s; a slower holder is left for another.
FIRST_CHUNK_MS = 1_000  # So long a holder may be silent at first; doubles with each round of asking all.
RETRY_FIRST_MS = 100  # After every holder was asked in vain; doubles up to RETRY_MAX_MS.
RETRY_MAX_MS = 2_000
FETCHES_AT_ONCE_MAX = 8  # Blobs under way at once; more only share the same link.
WINDOW = 8  # Chunks of one blob under way at once.
INLINE_BYTES = 256 * KIB


class _Blob(Struct, frozen=True):
    """A whole blob, every chunk checked against its root."""

    data: bytes | memoryview
    hashes: tuple[bytes, ...]  # Of its chunks, in order.


class _Fetch(Struct):
    """One blob that is wanted: who should have it, and the height after which nobody needs it."""

    holders: dict[bytes, None]
    height: int
    task: asyncio.Task[None] | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)


class Fetcher:
    """All fetches of one peer. Every answer is an event; payloads and models are durable before theirs.

    Blobs are written in the thread `bulk`, so that nothing of a vote waits behind them in `disk`, which alone
    uses chain.db. A body is held in `fresh` until it is checked: it becomes durable then, before any vote.
    """

    def __init__(
        self,
        store: Store,
        transport: Transport,
        disk: Executor,
        bulk: Executor,
        put: Callable[[Event], None],
        fresh: Fresh,
    ) -> None:
        self._store = store
        self._transport = transport
        self._disk = disk
        self._bulk = bulk
        self._put = put
        self._fresh = fresh
        self._fetches: dict[bytes, _Fetch] = {}
        self._slots = asyncio.Semaphore(FETCHES_AT_ONCE_MAX)
        self._tasks: asyncio.TaskGroup | None = None

    def run_in(self, tasks: asyncio.TaskGroup) -> None:
        """Start fetches as tasks of this group."""
        self._tasks = tasks

    def payload(self, effect: FetchPayload) -> None:
        name, lag = effect.header.update_id, self._store.genesis.params.update_lag
        self._want(name, effect.holders, effect.header.base_height + lag, lambda: self._payload(name, effect))

    def body(self, effect: FetchBody) -> None:
        name = effect.header.value_id
        self._want(name, effect.holders, effect.header.height, lambda: self._body(name, effect))

    def model(self, effect: FetchModel) -> None:
        name = effect.header.model_root
        self._want(name, effect.holders, effect.header.height + 1, lambda: self._model(name, effect))

    def blocks(self, effect: FetchBlocks) -> None:
        assert self._tasks is not None
        self._tasks.create_task(self._blocks(effect), name=f"blocks-{effect.from_height}")

    def passed(self, height: int) -> None:
        """Give up what only the blocks up to `height` needed: they are final."""
        self._fresh.height_ended()
        for name, fetch in list(self._fetches.items()):
            if fetch.height <= height and fetch.task is not None:
                fetch.task.cancel()
                del self._fetches[name]

    def _want(
        self,
        name: bytes,
        holders: Iterable[bytes],
        height: int,
        fetch: Callable[[], Coroutine[None, None, None]],
    ) -> None:
        """Start a fetch, or tell a running one of more holders."""
        assert self._tasks is not None
        known = self._fetches.get(name)
        fresh = dict.fromkeys(holders)
        if known is not None:
            known.holders.update(fresh)
            known.news.set()
            return
        entry = self._fetches[name] = _Fetch(fresh, height)
        entry.task = self._tasks.create_task(fetch(), name=f"fetch-{name.hex()[:8]}")

    async def _payload(self, name: bytes, effect: FetchPayload) -> None:
        header, blobs = effect.header, self._store.blobs
        root, form = header.payload_root, payload_form(self._store.genesis)
        loop = asyncio.get_running_loop()
        held: bytes | memoryview | None = None
        if blobs.has(root):  # The store says what is durable; from memory come only its bytes.
            held = self._fresh.get(root) or await loop.run_in_executor(self._bulk, blobs.load, root)
        blob = await self._blob(name, root, header.payload_bytes) if held is None else _Blob(held, ())

        def keep_and_judge() -> tuple[bool, InvalidUpdate | None]:
            if held is None:
                is_held = self._fresh.holds(len(blob.data), len(self._store.genesis.participants))
                blobs.put_as(root, blob.data, blob.hashes, is_read_soon=not is_held)
            return judge_payload(header, blob.data, form)

        is_valid, proof = await loop.run_in_executor(self._bulk, keep_and_judge)
        self._fresh.keep(root, blob.data, blob.hashes)
        self._finish(name, PayloadFetched(header.update_id, is_valid, proof))

    async def _body(self, name: bytes, effect: FetchBody) -> None:
        header = effect.header
        data = self._fresh.get(header.body_hash) or await asyncio.get_running_loop().run_in_executor(
            self._disk, self._store.chain.body_bytes, header.body_hash
        )
        blob = await self._blob(name, header.body_hash, None) if data is None else _Blob(data, ())
        self._fresh.keep(header.body_hash, blob.data, blob.hashes)
        try:
            body = codec.decode(bytes(blob.data), Body, BODY_BYTES_MAX)
        except MalformedMessage:
            return  # The proposer named bytes that are no body: nobody can vote for it.
        self._finish(name, BodyFetched(header, body))

    async def _model(self, name: bytes, effect: FetchModel) -> None:
        header, genesis = effect.header, self._store.genesis
        liars: set[bytes] = set()
        for root, length in (
            (header.exponents_root, exponent_bytes(genesis)),
            (header.model_root, model_bytes(genesis)),
        ):
            await pull_blob(
                self._store.blobs,
                root,
                length,
                transport=self._transport,
                disk=self._bulk,
                holders=lambda: self._order(name),
                liars=liars,
                blame=lambda peer, fault: self._put(PeerMisbehaved(peer, fault)),
            )
        loop = asyncio.get_running_loop()
        model = await loop.run_in_executor(self._bulk, self._read_model, header)
        await loop.run_in_executor(self._disk, self._store.save_model, model)
        self._finish(name, ModelFetched(header.height, model))

    def _read_model(self, header: Header) -> ModelState:
        """Return the model of a block, whose blobs are here: too long a work for the event loop."""
        weights = self._store.blobs.load_weights(header.model_root)
        exponents = self._store.blobs.load(header.exponents_root)
        assert weights is not None
        assert exponents is not None
        return ModelState.from_arrays(weights, exponents, self._store.genesis.manifest)

    async def _blocks(self, effect: FetchBlocks) -> None:
        blocks: tuple[Block, ...] = ()
        is_missing = False
        try:
            request = GetBlocks(effect.from_height, BLOCKS_PER_RESPONSE_MAX)
            answer = decode_response(await self._request(effect.peer, request))
            if not isinstance(answer, Blocks | Missing):
                raise MalformedMessage("another kind of answer than was asked for")
            is_missing = isinstance(answer, Missing)
            blocks = () if isinstance(answer, Missing) else answer.blocks
        except TransportError:
            pass  # It left meanwhile; an empty answer makes the node ask another.
        except PeerFault as fault:
            self._put(PeerMisbehaved(effect.peer, fault))
        self._put(BlocksFetched(effect.peer, blocks, is_missing))

    def _finish(self, name: bytes, event: Event) -> None:
        self._fetches.pop(name, None)
        self._put(event)

    async def _blob(self, name: bytes, root: bytes, length: int | None) -> _Blob:
        """Return the blob from whoever has it; `length` None: whatever the holders say, at most a body."""
        wait_ms, patience_ms = RETRY_FIRST_MS, FIRST_CHUNK_MS
        while True:
            fetch = self._fetches[name]
            fetch.news.clear()
            async with self._slots:
                for peer in self._order(name):
                    blob = await self._from(peer, root, length, patience_ms)
                    if blob is not None:
                        return blob
            try:
                async with asyncio.timeout(wait_ms / 1000):
                    await fetch.news.wait()
            except TimeoutError:
                wait_ms = min(RETRY_MAX_MS, 2 * wait_ms)
            patience_ms = min(REQUEST_TIMEOUT_MS, 2 * patience_ms)

    def _order(self, name: bytes) -> tuple[bytes, ...]:
        """Return whom to ask: known holders first, then whoever else is connected."""
        holders, connected = self._fetches[name].holders, self._transport.peers()
        known = tuple(peer for peer in holders if peer in connected)
        return (*known, *(peer for peer in connected if peer not in holders))

    async def _from(self, peer: bytes, root: bytes, length: int | None, patience_ms: int) -> _Blob | None:
        """Try to pull the whole blob from one peer; None where it hasn't got it, or is slow, or lies.

        One that hangs is left after `patience_ms` without the first chunk: others may have the blob too.
        """
        try:
            answer = await self._request(peer, GetChunk(root, 0), patience_ms)
            first = await _in_thread(_checked, root, 0, answer)
            count = chunk_count(length if length is not None else BODY_BYTES_MAX)
            if first.count > count or (length is not None and first.count != count):
                raise OutOfBounds(f"{first.count} chunks of a blob that has {count}")
            if first.count == 1:
                return _Blob(first.data, (root,))  # Its hash is the root.
            return await self._rest(peer, root, first)
        except TransportError:
            return None
        except PeerFault as fault:
            self._put(PeerMisbehaved(peer, fault))
            return None

    async def _rest(self, peer: bytes, root: bytes, first: _Piece) -> _Blob:
        """Return the blob whose first chunk is here, a window of the others under way at a time.

        Raises:
            TransportError: The peer is gone, too slow, or has no more of it.
            PeerFault: It lies.
        """
        count, window = first.count, asyncio.Semaphore(WINDOW)
        # The system gives an array of that size large pages, which bytes don't get: half the time.
        place = np.empty(count * CHUNK_BYTES, np.uint8).data
        hashes, sizes = [first.digest] * count, [0] * count  # Several threads fill them, each its own places.

        def keep(index: int, piece: _Piece) -> None:
            if piece.count != count or (len(piece.data) != CHUNK_BYTES and index < count - 1):
                raise BadChunk(f"chunk {index} of {root.hex()[:12]}… is cut in another way than the first")
            start = index * CHUNK_BYTES
            place[start : start + len(piece.data)] = piece.data
            hashes[index] = piece.digest
            sizes[index] = len(piece.data)

        def take(root: bytes, index: int, answer: bytes) -> None:
            keep(index, _checked(root, index, answer))

        async def one(index: int) -> None:
            async with window:
                await _in_thread(take, root, index, await self._request(peer, GetChunk(root, index)))

        keep(0, first)
        await asyncio.gather(*(one(index) for index in range(1, count)))
        if root_of_hashes(hashes) != root:
            raise BadChunk(f"chunks that are not those of {root.hex()[:12]}…")
        return _Blob(place[: sum(sizes)].toreadonly(), tuple(hashes))

    async def _request(
        self, peer: bytes, request: GetChunk | GetBlocks, timeout_ms: int = REQUEST_TIMEOUT_MS
    ) -> bytes:
        return await self._transport.request(peer, codec.encode(request), timeout_ms=timeout_ms)


class _Piece(Struct, frozen=True):
    """One checked chunk: its bytes, their hash, and of how many chunks it is one."""

    data: bytes
    digest: bytes
    count: int


async def _in_thread(check: Callable[[bytes, int, bytes], T], root: bytes, index: int, answer: bytes) -> T:
    """Return what `check` makes of an answer; a short one takes less time than a thread takes to wake."""
    if len(answer) <= INLINE_BYTES:
        return check(root, index, answer)
    return await asyncio.to_thread(check, root, index, answer)


def _checked(root: bytes, index: int, answer: bytes) -> _Piece:
    """Return chunk `index` of the blob `root` out of a peer's answer.

    Raises:
        TransportError: The peer has no such chunk (any more).
        PeerFault: Another answer, or another chunk.
    """
    response = decode_response(answer)
    if isinstance(response, Missing):
        raise TransportError(f"the peer has no chunk {index} of {root.hex()[:12]}…")
    if not isinstance(response, Chunk):
        raise MalformedMessage("another kind of answer than was asked for")
    digest = chunk_hash(response.data)
    if not has_chunk_hash(root, digest, index, response.count, response.path):
        raise BadChunk(f"chunk {index} is not one of {root.hex()[:12]}…")
    return _Piece(response.data, digest, response.count)
