"""Answer bulk requests from what is on disk: chunks, blocks, genesis."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

from p2pfed.primitives import codec
from p2pfed.storage.store import Store
from p2pfed.types.params import BODY_BYTES_MAX
from p2pfed.types.wire import (
    Blocks,
    BulkResponse,
    GenesisBytes,
    GetBlocks,
    GetChunk,
    GetGenesis,
    Missing,
    decode_request,
)


class Server:
    """Serves one store. `may_serve` is asked for each root; an honest peer serves all it has."""

    def __init__(self, store: Store, disk: Executor, may_serve: Callable[[bytes], bool]) -> None:
        self._store = store
        self._disk = disk
        self._may_serve = may_serve
        self.served_bytes = 0

    async def __call__(self, peer: bytes, data: bytes) -> bytes:  # noqa: ARG002 - whoever asks is answered
        """Return the encoded answer; raises MalformedMessage for what is no request."""
        request = decode_request(data)
        loop = asyncio.get_running_loop()
        match request:
            case GetGenesis():
                response: BulkResponse = GenesisBytes(codec.encode(self._store.genesis))
            case GetChunk():
                response = await loop.run_in_executor(self._disk, self._chunk, request)
            case GetBlocks():
                response = await loop.run_in_executor(self._disk, self._blocks, request)
        answer = codec.encode(response)
        self.served_bytes += len(answer)
        return answer

    def _chunk(self, request: GetChunk) -> BulkResponse:
        if not self._may_serve(request.root):
            return Missing()
        return self._store.chunk(request.root, request.index) or Missing()

    def _blocks(self, request: GetBlocks) -> BulkResponse:
        blocks = self._store.chain.blocks(request.from_height, request.count, 2 * BODY_BYTES_MAX)
        return Blocks(blocks) if blocks else Missing()
