"""What was made or came a moment ago, in memory by its root: bodies and payloads that all want at once."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from p2pfed.primitives.merkle import CHUNK_BYTES, chunk_hashes, path_of_hashes
from p2pfed.types.params import MIB
from p2pfed.types.wire import Chunk

FRESH_BYTES_MAX = 128 * MIB  # The payloads of a height of some large models; of small ones, all.
FRESH_ITEMS_MAX = 512  # The updates of a large height; a hundred heights of a small network are enough.
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
        if index == 0 and 0 < len(item.data) <= CHUNK_BYTES:
            return Chunk(1, bytes(item.data), ())  # Its root is the blob's.
        if not item.hashes:
            item.hashes = chunk_hashes(item.data)
        if not 0 <= index < len(item.hashes):
            return None
        start = index * CHUNK_BYTES
        data = bytes(item.data[start : start + CHUNK_BYTES])
        return Chunk(len(item.hashes), data, path_of_hashes(item.hashes, index))

    def _forget(self, root: bytes) -> None:
        self._bytes -= len(self._items.pop(root).data)
