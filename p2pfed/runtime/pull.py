"""Pull one blob of known length from many holders at once, each chunk checked as it comes, into one file."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor

from p2pfed.errors import BadChunk, MalformedMessage, PeerFault
from p2pfed.net.transport import Transport, TransportError
from p2pfed.primitives import codec
from p2pfed.storage.assembly import Assembly
from p2pfed.storage.blob_store import BlobStore
from p2pfed.types.wire import Chunk, GetChunk, Missing, decode_response

WINDOW = 8  # Chunks of one blob that are asked of one holder at once.
REQUEST_TIMEOUT_MS = 10_000  # For a window of chunks: a holder below 0.8 MB/s is left for another.
LOOK_MS = 500  # How often holders that have come meanwhile are looked for.
RETRY_MS = 1_000  # After nobody who is connected had any more of it.
PULL_THREADS = 2  # Of hashing and writing; more don't help where the loop decrypts.

Blame = Callable[[bytes, PeerFault], None]
Holders = Callable[[], tuple[bytes, ...]]


async def pull_blob(
    blobs: BlobStore,
    root: bytes,
    length: int,
    *,
    transport: Transport,
    disk: Executor,
    holders: Holders,
    liars: set[bytes],
    blame: Blame,
    on_chunk: Callable[[Assembly], None] = lambda _: None,
    patience_ms: int | None = None,
    is_kept: bool = False,
) -> bool:
    """Return True once the blob is durable here, False where nobody has given any of it for `patience_ms`.

    Args:
        blobs: Where it belongs.
        root: Its name.
        length: How many bytes it has.
        transport: Whom it comes over.
        disk: The thread that writes to the store.
        holders: Who may be asked now, the likeliest first.
        liars: Who is not asked any more; who lies here is added.
        blame: Told of a peer and its fault, once.
        on_chunk: Told of each chunk that came.
        patience_ms: None: try until the task is cancelled.
        is_kept: Whether what has come stays for another try, should this one end without the whole.
    """
    loop = asyncio.get_running_loop()
    if await loop.run_in_executor(disk, blobs.has, root):
        return True
    assembly = await loop.run_in_executor(disk, blobs.assemble, root, length)
    pool = ThreadPoolExecutor(PULL_THREADS, thread_name_prefix="pull")
    is_whole = False
    try:
        heard_at = loop.time()
        while assembly.missing:
            before = len(assembly.missing)
            pull = Pull(assembly, transport, pool, blame, lambda: on_chunk(assembly))
            if await pull.run(holders, liars):
                break
            if len(assembly.missing) < before:
                heard_at = loop.time()
            if patience_ms is not None and loop.time() - heard_at >= patience_ms / 1000:
                return False
            await asyncio.sleep(RETRY_MS / 1000)
        await loop.run_in_executor(disk, assembly.finish)
        is_whole = True
        return True
    finally:
        pool.shutdown(wait=True, cancel_futures=True)  # Nobody writes into a file that is closed.
        if is_whole or is_kept:
            assembly.close()
        else:
            assembly.abandon()


class Pull:
    """One blob in the making. Whoever fails or has nothing is left out, whoever lies is blamed as well.

    Chunks are decoded, hashed and written in `pool`, so the loop only carries bytes.
    """

    def __init__(
        self,
        assembly: Assembly,
        transport: Transport,
        pool: Executor,
        blame: Blame,
        on_chunk: Callable[[], None] = lambda: None,
    ) -> None:
        self._assembly = assembly
        self._transport = transport
        self._pool = pool
        self._blame = blame
        self._on_chunk = on_chunk
        self._wanted = deque(assembly.missing)
        self._left = len(self._wanted)  # Chunks that are not in the file yet.
        self._useless: set[bytes] = set()  # Has nothing, is gone, too slow, or lied.
        self._changed = asyncio.Event()

    async def run(self, holders: Holders, liars: set[bytes]) -> bool:
        """Return True once every chunk is in the file, False where nobody can give the rest.

        Args:
            holders: Who may be asked now; looked at again while it runs.
            liars: Who is not asked any more; who lies here is added.
        """
        workers: dict[asyncio.Task[None], bytes] = {}
        try:
            while self._left:
                for peer in holders():
                    if peer not in self._useless | liars and peer not in workers.values():
                        for _ in range(WINDOW):
                            task = asyncio.create_task(self._work(peer, liars))
                            workers[task] = peer
                if not workers:
                    return False
                done, _ = await asyncio.wait(
                    workers, timeout=LOOK_MS / 1000, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    del workers[task]
                    task.result()
            return True
        finally:
            for task in workers:
                task.cancel()
            if workers:
                await asyncio.wait(workers)

    async def _work(self, peer: bytes, liars: set[bytes]) -> None:
        """Ask one holder for one chunk after the other, until all is here or it is of no use."""
        while self._left and peer not in self._useless:
            if not self._wanted:
                self._changed.clear()
                await self._changed.wait()
                continue
            index = self._wanted.popleft()
            try:
                await self._one(peer, index)
            except (TransportError, PeerFault) as error:
                self._wanted.append(index)
                if isinstance(error, PeerFault) and peer not in liars:
                    liars.add(peer)
                    self._blame(peer, error)
                self._useless.add(peer)
                self._changed.set()
                return
            self._left -= 1
            self._on_chunk()
            if not self._left:
                self._changed.set()

    async def _one(self, peer: bytes, index: int) -> None:
        request = codec.encode(GetChunk(self._assembly.root, index))
        answer = await self._transport.request(peer, request, timeout_ms=REQUEST_TIMEOUT_MS)
        data, digest = self._checked(index, answer)
        write = self._assembly.write
        await asyncio.get_running_loop().run_in_executor(self._pool, write, index, data, digest)

    def _checked(self, index: int, answer: bytes) -> tuple[bytes, bytes]:
        """Return the bytes of a chunk and their hash; raises PeerFault, TransportError for none."""
        response = decode_response(answer)
        if isinstance(response, Missing):
            raise TransportError(f"it has no chunk {index} of {self._assembly.root.hex()}")
        if not isinstance(response, Chunk):
            raise MalformedMessage("another kind of answer than was asked for")
        if response.count != self._assembly.count:
            raise BadChunk(
                f"{self._assembly.root.hex()} has {self._assembly.count} chunks, it says {response.count}"
            )
        return response.data, self._assembly.check(index, response.count, response.data, response.path)
