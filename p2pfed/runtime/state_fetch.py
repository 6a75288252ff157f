"""Fetch what a joining peer asks for: offers, light blocks, and the parts of a snapshot."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import TypeVar

from p2pfed.chain.snapshot import block_of, model_of, state_after
from p2pfed.errors import MalformedMessage, PeerFault
from p2pfed.net.transport import Transport, TransportError
from p2pfed.node.effects import AskLightBlock, AskSnapshot, FetchSnapshot
from p2pfed.node.events import (
    Event,
    LightBlockFetched,
    PeerMisbehaved,
    SnapshotFetched,
    SnapshotOffered,
)
from p2pfed.primitives import codec
from p2pfed.runtime.progress import Paced, Progress
from p2pfed.runtime.pull import REQUEST_TIMEOUT_MS, pull_blob
from p2pfed.storage.assembly import Assembly
from p2pfed.storage.store import Store
from p2pfed.types.light import LightBlock
from p2pfed.types.snapshot import BODY, EXPONENTS, LEDGER, MODEL, Part, Snapshot
from p2pfed.types.wire import BulkRequest, GetLightBlock, GetSnapshot, Missing, decode_response

T = TypeVar("T")

HOLDERLESS_MS = 20_000  # Nobody has given a byte for so long: another snapshot is looked for.


class StateFetch:
    """The I/O of `node.state_sync`. Every answer is an event; a part is durable before the event is put."""

    def __init__(
        self,
        store: Store,
        transport: Transport,
        disk: Executor,
        put: Callable[[Event], None],
        tell: Callable[[Progress], None],
    ) -> None:
        self._store = store
        self._transport = transport
        self._disk = disk
        self._put = put
        self._tell = tell
        self.progress: Progress | None = None  # While a snapshot is fetched.

    async def offer(self, effect: AskSnapshot) -> None:
        """Ask one peer what it offers."""
        found = await self._ask(effect.peer, GetSnapshot(effect.height), Snapshot)
        self._put(SnapshotOffered(effect.peer, found))

    async def light_block(self, effect: AskLightBlock) -> None:
        """Ask one peer for a light block."""
        found = await self._ask(effect.peer, GetLightBlock(effect.height), LightBlock)
        self._put(LightBlockFetched(effect.peer, effect.height, found))

    async def snapshot(self, effect: FetchSnapshot) -> None:
        """Fetch every part, from whoever has it, and make the state of them."""
        snapshot, loop = effect.snapshot, asyncio.get_running_loop()
        await loop.run_in_executor(self._disk, self._store.want_snapshot, snapshot)
        self.progress = Progress(snapshot.height, 0, snapshot.size)
        liars: set[bytes] = set()
        tell = Paced(self._tell)

        def holders() -> tuple[bytes, ...]:
            connected = self._transport.peers()
            first = [peer for peer in effect.holders if peer in connected]
            return (*first, *(peer for peer in connected if peer not in effect.holders))

        def count(base: int, part: Part, assembly: Assembly) -> None:
            assert self.progress is not None
            self.progress.done, self.progress.part = base + assembly.held_bytes, part.kind
            tell(self.progress)

        base, fresh = 0, set[bytes]()
        try:
            for part in snapshot.parts:
                if not await loop.run_in_executor(self._disk, self._store.blobs.has, part.root):
                    fresh.add(part.root)
                is_here = await pull_blob(
                    self._store.blobs,
                    part.root,
                    part.length,
                    transport=self._transport,
                    disk=self._disk,
                    holders=holders,
                    liars=liars,
                    blame=self._blame,
                    on_chunk=partial(count, base, part),
                    patience_ms=HOLDERLESS_MS,
                    is_kept=True,
                )
                if not is_here:
                    self._put(SnapshotFetched(snapshot, None, None, None))
                    return
                base += part.length
                if part.kind == LEDGER and not await self._is_ledger(snapshot):
                    return
            self._tell(Progress(snapshot.height, snapshot.size, snapshot.size, "all"))
            self._put(await loop.run_in_executor(self._disk, self._finished, snapshot, fresh))
        finally:
            self.progress = None

    async def _is_ledger(self, snapshot: Snapshot) -> bool:
        """Answer whether the ledger is the one under the header, before anything large is fetched."""

        def check() -> PeerFault | None:
            try:
                state_after(snapshot, self._store.genesis, self._blob(snapshot, LEDGER))
            except PeerFault as fault:
                return fault
            return None

        fault = await asyncio.get_running_loop().run_in_executor(self._disk, check)
        if fault is not None:
            self._put(SnapshotFetched(snapshot, None, None, fault))
        return fault is None

    def _finished(self, snapshot: Snapshot, fresh: set[bytes]) -> SnapshotFetched:
        """Make block and state of the parts, which are all here; `fresh` ones were checked just now."""

        def blob(kind: str) -> bytes:
            root = snapshot.part(kind).root
            data = self._store.blobs.load(root, is_checked=root in fresh)
            assert data is not None
            return data

        try:
            block = block_of(snapshot, blob(BODY))
            state = state_after(snapshot, self._store.genesis, blob(LEDGER))
            root = snapshot.part(MODEL).root
            weights = self._store.blobs.load_weights(root, is_checked=root in fresh)
            assert weights is not None
            state = model_of(state, weights, blob(EXPONENTS))
        except PeerFault as fault:
            return SnapshotFetched(snapshot, None, None, fault)
        return SnapshotFetched(snapshot, block, state, None)

    def _blob(self, snapshot: Snapshot, kind: str) -> bytes:
        data = self._store.blobs.load(snapshot.part(kind).root)
        assert data is not None
        return data

    def _blame(self, peer: bytes, fault: PeerFault) -> None:
        self._put(PeerMisbehaved(peer, fault))

    async def _ask(self, peer: bytes, request: BulkRequest, kind: type[T]) -> T | None:
        """Return what a peer answers, None where it has nothing or is gone; a lie is blamed."""
        try:
            data = await self._transport.request(peer, codec.encode(request), timeout_ms=REQUEST_TIMEOUT_MS)
            answer = decode_response(data)
            if isinstance(answer, kind):
                return answer
            if not isinstance(answer, Missing):
                raise MalformedMessage("another kind of answer than was asked for")
        except TransportError:
            pass
        except PeerFault as fault:
            self._blame(peer, fault)
        return None
