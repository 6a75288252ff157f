"""Files of a log in memory that tear as on a real disk: of what was not synced a crash leaves any part."""

from __future__ import annotations

import zlib
from random import Random

from p2pfed.sim.power import PointHook, ignore_point

SECTOR_BYTES = 512  # What a disk writes whole or not at all.


class MemoryFiles:
    """A `storage.log_files.LogFiles` whose unsynced ends get lost or torn."""

    def __init__(self) -> None:
        self._synced: dict[str, bytes] = {}
        self._tails: dict[str, bytes] = {}
        self.pass_point: PointHook = ignore_point

    def lose(self) -> None:
        """Lose the power: of what was not synced some sectors stay; in the same run the same ones."""
        for name, tail in self._tails.items():
            dice = Random(zlib.crc32(tail))
            kept = bytearray(tail[: dice.randint(0, len(tail))])
            at = -len(self._synced[name]) % SECTOR_BYTES
            for start in range(at, len(kept), SECTOR_BYTES):
                if dice.random() < 0.2:
                    kept[start : start + SECTOR_BYTES] = bytes(len(kept[start : start + SECTOR_BYTES]))
            self._synced[name] += bytes(kept)
        self._tails.clear()

    def image(self) -> MemoryFiles:
        """Return a copy of what is synced now."""
        other = MemoryFiles()
        other._synced = dict(self._synced)
        return other

    def names(self) -> list[str]:
        return sorted(self._synced)

    def where(self, name: str) -> str:
        return name

    def read(self, name: str) -> bytes:
        return self._synced[name] + self._tails.get(name, b"")

    def create(self, name: str, data: bytes) -> None:
        self.pass_point("log.rotate")
        self._synced[name] = data
        self.pass_point("log.rotated")

    def append(self, name: str, data: bytes) -> None:
        self.pass_point("log.begin")
        self._tails[name] = self._tails.get(name, b"") + data
        self.pass_point("log.written")

    def sync(self, name: str) -> None:
        self._synced[name] += self._tails.pop(name, b"")
        self.pass_point("log.durable")

    def cut(self, name: str, size: int) -> None:
        self._synced[name] = self.read(name)[:size]
        self._tails.pop(name, None)
        self.pass_point("log.cut")

    def delete(self, name: str) -> None:
        del self._synced[name]
        self._tails.pop(name, None)
        self.pass_point("log.dropped")
