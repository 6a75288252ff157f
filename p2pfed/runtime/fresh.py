"""What was made or came a moment ago, in memory by its root: bodies and payloads that all want at once."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from p2pfed.primitives.merkle import CHUNK_BYTES, chunk_hashes
from p2pfed.storage.blob_store import chunk_of_bytes
from p2pfed.types.params import MIB
from p2pfed.types.wire import Chunk

FRESH_BYTES_MAX = 128 * MIB  # The payloads of a height of some large models; of small ones, all.
FRESH_ITEMS_MAX = 512  # The updates of a large height and its body.
ITEM_BYTES_MAX = 32 * MIB  # What is larger is read from disk: it would push out everything else.


class _Item(Struct):
    data: bytes | memoryview
    hashes: Sequence[bytes]  # Of its chunks; none: nobody has asked for a chunk yet.
    age: int = 0  # How many heights have ended since.


class Fresh:
    """The newest by their chunk root, for two heights, within its limits. Any thread may read."""

    def __init__(self) -> None:
        self._items: dict[bytes, _Item] = {}
        self._bytes = 0

    def keep(self, root: bytes, data: bytes | memoryview, hashes: Sequence[bytes] = ()) -> None:
        """Remember `data`, which was checked against `root`; the oldest go where there is no room.

        Args:
            root: Its name.
            data: Its bytes; nobody writes to them any more.
            hashes: Those of its chunks, where they are known.
        """
        if root in self._items or len(data) > ITEM_BYTES_MAX:
            return
        self._items[root] = _Item(data, hashes)
        self._bytes += len(data)
        while self._bytes > FRESH_BYTES_MAX or len(self._items) > FRESH_ITEMS_MAX:
            self._forget(next(iter(self._items)))

    def holds(self, size: int, count: int) -> bool:
        """Answer whether `count` blobs of `size` bytes each, those of one height, find room here together."""
        return size <= ITEM_BYTES_MAX and size * count <= FRESH_BYTES_MAX and count <= FRESH_ITEMS_MAX

    def height_ended(self) -> None:
        """Forget what was kept before the last height ended: whoever still wants it gets it from disk."""
        for root, item in list(self._items.items()):
            item.age += 1
            if item.age > 1:
                self._forget(root)

    def get(self, root: bytes) -> bytes | memoryview | None:
        item = self._items.get(root)
        return None if item is None else item.data

    def chunk(self, root: bytes, index: int) -> Chunk | None:
        """Return chunk `index` with its path; None where the bytes are not here or end before."""
        item = self._items.get(root)
        if item is None:
            return None
        if not item.hashes and len(item.data) > CHUNK_BYTES:
            item.hashes = chunk_hashes(item.data)
        return chunk_of_bytes(item.data, index, item.hashes)

    def _forget(self, root: bytes) -> None:
        self._bytes -= len(self._items.pop(root).data)
