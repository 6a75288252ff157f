"""The few things a log asks of a folder: so that the simulator can lose what was not synced."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from p2pfed.storage.files import PRIVATE_MODE, disk_errors, make_folder, sync_folder, write_synced

_fdatasync = getattr(os, "fdatasync", os.fsync)  # macOS has only the stronger one.


class LogFiles(Protocol):
    """Numbered files that only grow. Every method may raise DiskFull or StorageFault."""

    def names(self) -> list[str]:
        """Return the names of all files, ascending."""

    def where(self, name: str) -> str:
        """Return the path of a file, for people."""

    def read(self, name: str) -> bytes: ...

    def create(self, name: str, data: bytes) -> None:
        """Make a new file with this content; it and its name are durable on return."""

    def append(self, name: str, data: bytes) -> None:
        """Add to the end; not durable."""

    def sync(self, name: str) -> None:
        """Make what was appended durable."""

    def cut(self, name: str, size: int) -> None:
        """Keep the first `size` bytes; durable on return."""

    def delete(self, name: str) -> None: ...


class FolderFiles:
    """The files `NNNNNNNN.log` of a real folder; the one that is written stays open."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: tuple[str, int] | None = None  # Name and descriptor.

    def close(self) -> None:
        if self._open is not None:
            os.close(self._open[1])
            self._open = None

    def names(self) -> list[str]:
        with disk_errors(f"read {self._folder}"):
            if not self._folder.is_dir():
                return []
            return sorted(path.name for path in self._folder.glob("[0-9]*.log"))

    def where(self, name: str) -> str:
        return str(self._folder / name)

    def read(self, name: str) -> bytes:
        with disk_errors(f"read {self._folder / name}"):
            return (self._folder / name).read_bytes()

    def create(self, name: str, data: bytes) -> None:
        with disk_errors(f"write {self._folder / name}"):
            make_folder(self._folder)
            write_synced(self._folder / name, data, PRIVATE_MODE)
            sync_folder(self._folder)

    def append(self, name: str, data: bytes) -> None:
        with disk_errors(f"write {self._folder / name}"):
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor(name), view) :]

    def sync(self, name: str) -> None:
        with disk_errors(f"write {self._folder / name}"):
            _fdatasync(self._descriptor(name))

    def cut(self, name: str, size: int) -> None:
        with disk_errors(f"cut {self._folder / name}"):
            descriptor = self._descriptor(name)
            os.ftruncate(descriptor, size)
            os.fsync(descriptor)

    def delete(self, name: str) -> None:
        with disk_errors(f"delete {self._folder / name}"):
            if self._open is not None and self._open[0] == name:
                self.close()
            (self._folder / name).unlink()
            sync_folder(self._folder)

    def _descriptor(self, name: str) -> int:
        if self._open is None or self._open[0] != name:
            self.close()
            flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
            self._open = (name, os.open(self._folder / name, flags))
        return self._open[1]
