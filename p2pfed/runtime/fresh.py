"""What was made or came a moment ago, in memory by its root: bodies and payloads that all want at once."""

from __future__ import annotations

from p2pfed.storage.blob_store import chunk_of_bytes
from p2pfed.types.params import BODY_BYTES_MAX
from p2pfed.types.wire import Chunk

FRESH_BYTES_MAX = 2 * BODY_BYTES_MAX  # 8 MiB: any body, and the payloads of a height of small models.
FRESH_ITEMS_MAX = 512  # The updates of a large height; a hundred heights of a small network are enough.
ITEM_BYTES_MAX = BODY_BYTES_MAX  # What is larger is read from disk: it would push out everything else.


class Fresh:
    """The newest by their chunk root, within FRESH_BYTES_MAX and FRESH_ITEMS_MAX. Any thread may read."""

    def __init__(self) -> None:
        self._items: dict[bytes, bytes] = {}
        self._bytes = 0

    def keep(self, root: bytes, data: bytes) -> None:
        """Remember `data`, which was checked against `root`; the oldest go where there is no room."""
        if root in self._items or len(data) > ITEM_BYTES_MAX:
            return
        self._items[root] = data
        self._bytes += len(data)
        while self._bytes > FRESH_BYTES_MAX or len(self._items) > FRESH_ITEMS_MAX:
            self._bytes -= len(self._items.pop(next(iter(self._items))))

    def get(self, root: bytes) -> bytes | None:
        return self._items.get(root)

    def chunk(self, root: bytes, index: int) -> Chunk | None:
        """Return chunk `index` with its path; None where the bytes are not here or end before."""
        data = self._items.get(root)
        return None if data is None else chunk_of_bytes(data, index)
