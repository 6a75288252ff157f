"""One peer that a light client asks: light blocks, proofs, and blobs whose every chunk is proven."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar

from p2pfed.errors import InvalidLightBlock, MalformedMessage
from p2pfed.net.transport import Transport, TransportError
from p2pfed.primitives import codec
from p2pfed.primitives.merkle import chunk_count, has_chunk
from p2pfed.runtime.joining import ask
from p2pfed.types.address import Multiaddr
from p2pfed.types.light import LightBlock, ListProof
from p2pfed.types.wire import (
    BulkRequest,
    BulkResponse,
    Chunk,
    GetChunk,
    GetLightBlock,
    GetProof,
    Missing,
    decode_response,
)

T = TypeVar("T")


class Source:
    """One peer that is asked. Whoever uses an answer checks it."""

    def __init__(self, transport: Transport, peer: bytes, address: Multiaddr) -> None:
        self.peer = peer
        self.address = address
        self.headers = 0
        self._transport = transport

    async def light_block(self, height: int) -> LightBlock:
        """Return the block of `height`, 0: the newest one.

        Raises:
            TransportError: It has none, or is gone.
            PeerFault: It sends something else.
        """
        self.headers += 1
        old = "it is not there yet, or so old that these are forgotten"
        what = f"block {height} with its validator sets: {old}" if height else "block yet"
        return await self._ask(GetLightBlock(height), LightBlock, what)

    async def proof(self, height: int, tree: Literal["state", "updates"], key: bytes) -> ListProof:
        """Return the proof of `key` at `height`; raises as `light_block`."""
        what = f"{'ledger' if tree == 'state' else 'update list'} of height {height} (any more)"
        return await self._ask(GetProof(height, tree, key), ListProof, what)

    async def blob(
        self, root: bytes, length: int, on_step: Callable[[int, int], None] = lambda *_: None
    ) -> bytes:
        """Return the `length` bytes under `root`, each chunk checked as it comes; raises as `light_block`."""
        count, pieces = chunk_count(length), []
        for index in range(count):
            what = f"chunk {index} of {root.hex()[:12]}… (any more)"
            chunk = await self._ask(GetChunk(root, index), Chunk, what)
            if chunk.count != count or not has_chunk(root, chunk.data, index, count, chunk.path):
                raise InvalidLightBlock(f"chunk {index} of {count} is not under {root.hex()}")
            pieces.append(chunk.data)
            on_step(index + 1, count)
        return b"".join(pieces)

    async def _ask(self, request: BulkRequest, kind: type[T], what: str) -> T:
        answer: BulkResponse = decode_response(await ask(self._transport, self.peer, codec.encode(request)))
        if isinstance(answer, Missing):
            raise TransportError(f"it has no {what}")
        if not isinstance(answer, kind):
            raise MalformedMessage("another kind of answer than was asked for")
        return answer
