"""A blob in the making: one preallocated file, into which chunks come in any order, each checked as it comes.

Beside the file stands a journal of the chunks that are in it, so that a peer that was killed goes on where it
was. Nothing is synced before the end: what a crash loses shows when the chunks are hashed again.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from p2pfed.errors import BadChunk, StorageFault
from p2pfed.primitives.digest import DIGEST_BYTES
from p2pfed.primitives.merkle import (
    CHUNK_BYTES,
    EMPTY_ROOT,
    chunk_count,
    chunk_hash,
    has_chunk_hash,
    root_of_hashes,
)
from p2pfed.storage.crash_points import crashpoint
from p2pfed.storage.files import PRIVATE_MODE, disk_errors

_ENTRY = struct.Struct(f">I{DIGEST_BYTES}s")  # Index and hash of a chunk that is in the file.


def part_names(root: bytes) -> tuple[str, str]:
    """Return the names of the file and of the journal of the blob `root`."""
    return root.hex(), f"{root.hex()}.chunks"


class Assembly:
    """The writer of one blob. Several threads may add chunks at once; the rest is for one thread.

    One that is dropped is cleaned up by `abandon` or the next start.
    """

    _file: int
    _journal: int

    def __init__(
        self, folder: Path, root: bytes, length: int, take_name: Callable[[Path, bytes], None]
    ) -> None:
        """Go on with what is in `folder` of this blob.

        Args:
            folder: Where blobs in the making lie.
            root: The name of the blob.
            length: How many bytes it has.
            take_name: Gives the finished file its name in the store.
        """
        assert length >= 0
        self.root = root
        self.length = length
        self.count = chunk_count(length)
        self._path, self._journal_path = (folder / name for name in part_names(root))
        self._take_name = take_name
        self._lock = threading.Lock()
        self._hashes: dict[int, bytes] = {}  # Of the chunks that are in the file.
        self._file = self._journal = -1
        with disk_errors(f"make room for the blob {root.hex()}"):
            self._open()

    @property
    def missing(self) -> tuple[int, ...]:
        """The indices of the chunks that have not come, ascending."""
        return tuple(index for index in range(self.count) if index not in self._hashes)

    @property
    def held_bytes(self) -> int:
        """How many bytes of the blob are here."""
        last = self.count - 1
        whole = len(self._hashes) * CHUNK_BYTES
        return whole - CHUNK_BYTES + self._length_of(last) if last in self._hashes else whole

    def add(self, index: int, count: int, data: bytes | memoryview, path: Sequence[bytes]) -> None:
        """Check and write chunk `index`; one that came before is ignored. Raises as `check` and `write`."""
        self.write(index, data, self.check(index, count, data, path))

    def check(self, index: int, count: int, data: bytes | memoryview, path: Sequence[bytes]) -> bytes:
        """Return the hash of chunk `index`, which is that blob's.

        Raises:
            BadChunk: Wrong count, index, length or path: the sender's fault.
        """
        if count != self.count or not 0 <= index < self.count:
            raise BadChunk(f"chunk {index} of {count} where {self.root.hex()} has {self.count}")
        if len(data) != self._length_of(index):
            raise BadChunk(f"chunk {index} has {len(data)} bytes and not {self._length_of(index)}")
        digest = chunk_hash(data)
        if not has_chunk_hash(self.root, digest, index, count, path):
            raise BadChunk(f"chunk {index} hashes to {digest.hex()}, which is not under {self.root.hex()}")
        return digest

    def write(self, index: int, data: bytes | memoryview, digest: bytes) -> None:
        """Write chunk `index`, whose hash was checked. Raises DiskFull, StorageFault."""
        if index in self._hashes:
            return
        with disk_errors(f"write the blob {self.root.hex()}"):
            self._write(data, index * CHUNK_BYTES)
            with self._lock:
                self._hashes[index] = digest
                os.write(self._journal, _ENTRY.pack(index, digest))

    def finish(self) -> None:
        """Give the whole blob its name, once every chunk has come; durable on return.

        Raises:
            BadChunk: A length of 0 was announced for a root that isn't the empty one.
            DiskFull, StorageFault: It can't be written, or what a former run left is damaged.
        """
        assert not self.missing
        if self.count == 0 and self.root != EMPTY_ROOT:
            raise BadChunk(f"no bytes at all can't have the root {self.root.hex()}")
        found = root_of_hashes([self._hashes[index] for index in range(self.count)])
        if found != self.root:
            self.abandon()
            raise StorageFault(
                f"what was left of the blob {self.root.hex()} hashes to {found.hex()}; it is thrown away, "
                "start again to fetch it anew"
            )
        crashpoint("blob.begin")
        with disk_errors(f"write the blob {self.root.hex()}"):
            os.fsync(self._file)
            self.close()
            self._take_name(self._path, self.root)
            self._journal_path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the files and leave them, for a later start to go on with."""
        for descriptor in (self._file, self._journal):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._journal = -1

    def abandon(self) -> None:
        """Throw away what has come."""
        self.close()
        with disk_errors(f"delete {self._path}"):
            self._path.unlink(missing_ok=True)
            self._journal_path.unlink(missing_ok=True)

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._file = os.open(self._path, flags, PRIVATE_MODE)
        try:
            self._journal = os.open(self._journal_path, flags | os.O_APPEND, PRIVATE_MODE)
            if os.fstat(self._file).st_size == self.length:
                self._recall()
            elif hasattr(os, "posix_fallocate") and self.length:
                os.posix_fallocate(
                    self._file, 0, self.length
                )  # A full disk shows now, not at the last chunk.
            else:
                os.ftruncate(self._file, self.length)
        except BaseException:
            self.close()
            raise

    def _recall(self) -> None:
        """Hash again what the journal says is here, and forget what is not."""
        entries = os.read(self._journal, _ENTRY.size * (self.count + 1))
        for start in range(0, len(entries) - _ENTRY.size + 1, _ENTRY.size):
            index, digest = _ENTRY.unpack_from(entries, start)
            if index < self.count and index not in self._hashes:
                data = os.pread(self._file, self._length_of(index), index * CHUNK_BYTES)
                if chunk_hash(data) == digest:
                    self._hashes[index] = digest
        os.ftruncate(self._journal, 0)
        os.write(self._journal, b"".join(_ENTRY.pack(*entry) for entry in self._hashes.items()))

    def _length_of(self, index: int) -> int:
        return min(CHUNK_BYTES, self.length - index * CHUNK_BYTES)

    def _write(self, data: bytes | memoryview, offset: int) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._file, view, offset)
            view, offset = view[written:], offset + written
