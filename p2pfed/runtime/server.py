"""Answer bulk requests from what is on disk: chunks, blocks, genesis, and what light clients ask for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

from p2pfed.chain.proofs import prove_leaf, prove_update
from p2pfed.chain.state import decode_ledger
from p2pfed.errors import MalformedMessage, StorageFault
from p2pfed.ledger.state import LedgerState
from p2pfed.primitives import codec
from p2pfed.runtime.fresh import Fresh
from p2pfed.storage.blob_store import chunk_of_bytes
from p2pfed.storage.snapshots import Snapshots
from p2pfed.storage.store import Store
from p2pfed.types.genesis import encode_genesis
from p2pfed.types.light import LightBlock
from p2pfed.types.params import BODY_BYTES_MAX
from p2pfed.types.wire import (
    Blocks,
    BulkResponse,
    Chunk,
    GenesisBytes,
    GetBlocks,
    GetChunk,
    GetGenesis,
    GetLightBlock,
    GetProof,
    GetSnapshot,
    Missing,
    decode_request,
)


class Server:
    """Serves one store. `may_serve` is asked for each root; an honest peer serves all it has.

    Only `thread`, an executor of one, uses the store: one of its own, opened to read, so that no vote waits
    for a chunk or a manifest. What is `fresh` is answered at once.
    """

    def __init__(
        self,
        store: Store,
        thread: Executor,
        may_serve: Callable[[bytes], bool],
        shown: Callable[[bytes], bytes] = lambda data: data,
        fresh: Fresh | None = None,
    ) -> None:
        self._store = store
        self._fresh = fresh or Fresh()
        self._thread = thread
        self._may_serve = may_serve
        self._shown = shown  # What a liar makes of a chunk's bytes; an honest peer shows them as they are.
        self._snapshots = Snapshots(store.chain, store.genesis)
        self._ledger: tuple[int, LedgerState] | None = None  # The newest that was asked for, with its height.
        self.served_bytes = 0

    async def __call__(self, peer: bytes, data: bytes) -> bytes:  # noqa: ARG002 - whoever asks is answered
        """Return the encoded answer; raises MalformedMessage for what is no request."""
        request = decode_request(data)
        loop = asyncio.get_running_loop()
        match request:
            case GetGenesis():
                response: BulkResponse = GenesisBytes(encode_genesis(self._store.genesis))
            case GetChunk():
                response = self._fresh_chunk(request)
                if isinstance(response, Missing):
                    response = await loop.run_in_executor(self._thread, self._chunk, request)
            case GetBlocks():
                response = await loop.run_in_executor(self._thread, self._blocks, request)
            case GetLightBlock():
                response = await loop.run_in_executor(self._thread, self._light_block, request)
            case GetProof():
                response = await loop.run_in_executor(self._thread, self._proof, request)
            case GetSnapshot():
                response = await loop.run_in_executor(self._thread, self._snapshot, request)
        answer = codec.encode(response)
        self.served_bytes += len(answer)
        return answer

    def _fresh_chunk(self, request: GetChunk) -> BulkResponse:
        found = self._fresh.chunk(request.root, request.index) if self._may_serve(request.root) else None
        return Missing() if found is None else Chunk(found.count, self._shown(found.data), found.path)

    def _chunk(self, request: GetChunk) -> BulkResponse:
        if not self._may_serve(request.root):
            return Missing()
        found = self._store.blobs.chunk(request.root, request.index)
        if found is None:
            found = self._snapshots.ledger_chunk(request.root, request.index)
        if found is None:
            body = self._store.chain.body_bytes(request.root)
            found = None if body is None else chunk_of_bytes(body, request.index)
        return Missing() if found is None else Chunk(found.count, self._shown(found.data), found.path)

    def _snapshot(self, request: GetSnapshot) -> BulkResponse:
        return self._snapshots.manifest(request.height) or Missing()

    def _blocks(self, request: GetBlocks) -> BulkResponse:
        blocks = self._store.chain.blocks(request.from_height, request.count, 2 * BODY_BYTES_MAX)
        return Blocks(blocks) if blocks else Missing()

    def _light_block(self, request: GetLightBlock) -> BulkResponse:
        """Return a header with its sets, as far back as the newest ledger keeps them."""
        tip = self._store.chain.height
        height = request.height or tip
        found, ledger = self._store.chain.certified(height), self._ledger_after(tip)
        if found is None or ledger is None:
            return Missing()
        header, commit = found
        validators = ledger.staking.validators_at(height)
        next_validators = ledger.staking.validators_at(height + 1)
        if validators is None or next_validators is None:
            return Missing()
        return LightBlock(header, commit, validators, next_validators)

    def _proof(self, request: GetProof) -> BulkResponse:
        if request.tree == "state":
            ledger = self._ledger_after(request.height)
            return Missing() if ledger is None else prove_leaf(ledger, request.key)
        block = self._store.chain.block(request.height)
        return Missing() if block is None else prove_update(block.body.updates, request.key)

    def _ledger_after(self, height: int) -> LedgerState | None:
        """Return the ledger after `height`; None where it is not kept."""
        if self._ledger is not None and self._ledger[0] == height:
            return self._ledger[1]
        data = self._store.chain.ledger(height)
        if data is None:
            return None
        try:
            self._ledger = height, decode_ledger(data)
        except MalformedMessage as error:
            raise StorageFault(f"the stored ledger of height {height} is damaged: {error}") from None
        return self._ledger[1]
