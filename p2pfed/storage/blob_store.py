"""Payloads and models as files that are named by their own content: `data/blobs/sha256/ab/<root>`.

A name is the RFC 6962 root over the 16 KiB leaves, so whoever reads a blob can check it, whole or by chunk.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from p2pfed.errors import StorageFault
from p2pfed.primitives.digest import DIGEST_BYTES
from p2pfed.primitives.merkle import (
    CHUNK_BYTES,
    EMPTY_ROOT,
    chunk_hash,
    chunk_hashes,
    chunk_root,
    levels_of_hashes,
    path_of_hashes,
    path_of_levels,
    root_of_hashes,
)
from p2pfed.storage.assembly import Assembly, part_names
from p2pfed.storage.crash_points import crashpoint
from p2pfed.storage.files import FOLDER_MODE, PRIVATE_MODE, disk_errors, sync_folder, write_synced
from p2pfed.types.model import Int32Vector
from p2pfed.types.wire import Chunk

_ROOT_NAME = re.compile("[0-9a-f]{64}")
HASHES_CACHED_MAX = 1 << 16  # Chunks whose hashes are held in memory: 4 MiB of trees serve 64 GiB of blobs.


def chunk_of_bytes(
    data: bytes | memoryview, index: int, hashes: Sequence[bytes] | None = None
) -> Chunk | None:
    """Return chunk `index` of a blob that is in memory; None beyond its end.

    Args:
        data: The blob.
        index: Which chunk.
        hashes: Those of all its chunks, where they are known.
    """
    if index == 0 and 0 < len(data) <= CHUNK_BYTES:
        return Chunk(1, bytes(data), ())  # Its root is the blob's.
    hashes = hashes or chunk_hashes(data)
    if not 0 <= index < len(hashes):
        return None
    start = index * CHUNK_BYTES
    return Chunk(len(hashes), bytes(data[start : start + CHUNK_BYTES]), path_of_hashes(hashes, index))


class BlobStore:
    """Content-addressed files, each complete once it has a name. Several threads may use one store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._named = folder / "sha256"
        self._temporary = folder / "tmp"
        # The levels of trees over chunks, oldest first; only whole, verified blobs are in it.
        self._levels: dict[bytes, list[list[bytes]]] = {}
        self._hashes_count = 0
        self._serial = 0
        # Root -> height of the last use; one entry a file, as they are seen.
        self._used: dict[bytes, int] = {}
        self._durable: set[bytes] = set()  # Roots whose name is known to survive a crash.
        self.height = 0  # The last final height; the owner keeps it current.
        # Serving threads and the writing one share the cache; nothing slow happens under the lock.
        self._lock = threading.Lock()

    def open(self, unfinished: Iterable[bytes] = ()) -> None:
        """Make the folders and remove what a crash left unfinished. Raises DiskFull or StorageFault.

        Args:
            unfinished: Roots of blobs whose assembly goes on where it stopped.
        """
        kept = {name for root in unfinished for name in part_names(root)}
        with disk_errors(f"open the blobs in {self.folder}"):
            for folder in (self.folder, self._named, self._temporary):
                folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
            for first in range(256):
                (self._named / f"{first:02x}").mkdir(mode=FOLDER_MODE, exist_ok=True)
            sync_folder(self._named)
            sync_folder(self.folder)
            for leftover in self._temporary.iterdir():
                if leftover.name not in kept:
                    leftover.unlink()

    def path(self, root: bytes) -> Path:
        """Return where the blob of `root` lies or would lie."""
        return Path(self._file(root))

    def _file(self, root: bytes) -> str:
        """Return the same as text: a Path interns each part, and a name is new with every blob."""
        assert len(root) == DIGEST_BYTES
        name = root.hex()
        return f"{self._named}/{name[:2]}/{name}"

    def put(self, data: bytes | memoryview) -> bytes:
        """Store `data` and return its root; durable on return. Raises DiskFull or StorageFault."""
        hashes = chunk_hashes(data)
        root = root_of_hashes(hashes)
        self.put_as(root, data, hashes)
        return root

    def put_as(
        self,
        root: bytes,
        data: bytes | memoryview,
        hashes: Sequence[bytes] = (),
        *,
        is_read_soon: bool = True,
    ) -> None:
        """Store `data`, which was checked against `root`; as `put`, without hashing it once more.

        Args:
            root: Its name.
            data: Its bytes.
            hashes: Those of its chunks, where they are known: whoever asks for chunks is served by them.
            is_read_soon: False where memory has it for as long as many may ask (`write_synced`).
        """
        if self.has(root):
            if root not in self._durable:
                with disk_errors(f"write the blob {root.hex()}"):
                    # It may be from before a crash that came between its rename and the folder's fsync.
                    sync_folder(self.path(root).parent)
                self._durable.add(root)
            return
        temporary = self._new_temporary()
        crashpoint("blob.begin")
        with disk_errors(f"write the blob {root.hex()}"):
            write_synced(temporary, data, PRIVATE_MODE, is_read_soon=is_read_soon)
            self._take_name(temporary, root)
        if hashes:
            self._keep_levels(root, levels_of_hashes(hashes))

    def has(self, root: bytes) -> bool:
        """Answer whether a blob of that name is here; its content is checked when it is read.

        Asking counts as a use: `delete_unused` leaves the blob alone for a while.
        """
        with self._lock:
            if not os.path.isfile(self._file(root)):
                return False
            self._used[root] = self.height
            return True

    def size(self, root: bytes) -> int | None:
        """Return the length in bytes; None where the blob is not here."""
        try:
            return os.stat(self._file(root)).st_size
        except FileNotFoundError:
            return None

    def load(self, root: bytes, *, is_checked: bool = False) -> bytes | None:
        """Return the blob, checked against its root; None where it is not here.

        Args:
            root: Its name.
            is_checked: It was assembled a moment ago, every chunk checked, so it is not hashed once more.

        Raises:
            StorageFault: The file's bytes have another root, or can't be read.
        """
        with disk_errors(f"read the blob {root.hex()}"):
            try:
                with open(self._file(root), "rb") as file:
                    data = file.read()
            except FileNotFoundError:
                return None
        found = root if is_checked else chunk_root(data)
        if found != root:
            raise self._damaged(root, found)
        with self._lock:
            self._used[root] = self.height
        return data

    def load_weights(self, root: bytes, *, is_checked: bool = False) -> Int32Vector | None:
        """Return the int32 vector in a blob, as `load` returns its bytes: read to its place, with no copy."""
        with disk_errors(f"read the blob {root.hex()}"):
            try:
                weights: Int32Vector = np.fromfile(self._file(root), "<i4")
            except FileNotFoundError:
                return None
        found = root if is_checked else chunk_root(weights.data)
        if found != root:
            raise self._damaged(root, found)
        with self._lock:
            self._used[root] = self.height
        weights.flags.writeable = False
        return weights.astype(np.int32, copy=False)

    def chunk(self, root: bytes, index: int) -> Chunk | None:
        """Return chunk `index` with its path; None where the blob is not here or ends before.

        The whole file is read once, for the hashes of its chunks; after that only the chunk is.

        Raises:
            StorageFault: The bytes on disk don't match the root.
        """
        levels = self._chunk_levels(root)
        if levels is None or not 0 <= index < len(levels[0]):
            return None
        hashes = levels[0]
        with disk_errors(f"read the blob {root.hex()}"):
            try:
                with open(self._file(root), "rb") as file:
                    file.seek(index * CHUNK_BYTES)
                    data = file.read(CHUNK_BYTES)
            except FileNotFoundError:
                return None
        found = chunk_hash(data)
        if found != hashes[index]:
            raise self._damaged(root, found)
        return Chunk(len(hashes), data, path_of_levels(levels, index))

    def delete_unused(self, root: bytes, before: int) -> bool:
        """Delete the blob unless it was put or asked for at height `before` or later; answer whether it went.

        A blob that is seen for the first time since the start counts as used now.
        """
        with self._lock, disk_errors(f"delete the blob {root.hex()}"):
            if self._used.setdefault(root, self.height) >= before:
                return False
            self._used.pop(root)
            self._durable.discard(root)
            self._forget_levels(root)
            with suppress(FileNotFoundError):
                os.unlink(self._file(root))
        crashpoint("blob.deleted")
        return True

    def roots(self) -> tuple[bytes, ...]:
        """Return the root of every blob here, ascending; files that are no blobs are passed over."""
        return self.listing()[0]

    def listing(self) -> tuple[tuple[bytes, ...], tuple[str, ...]]:
        """Return the roots of all blobs, ascending, and the paths of files that are no blobs."""
        roots: list[bytes] = []
        strangers: list[str] = []
        with disk_errors(f"list the blobs in {self._named}"):
            for folder in sorted(os.listdir(self._named)) if self._named.is_dir() else ():
                path = self._named / folder
                for name in sorted(os.listdir(path)) if path.is_dir() else (None,):
                    if name is not None and name[:2] == folder and _ROOT_NAME.fullmatch(name):
                        roots.append(bytes.fromhex(name))
                    else:
                        strangers.append(f"{folder}/{name}" if name else folder)
        return tuple(roots), tuple(strangers)

    def assemble(self, root: bytes, length: int) -> Assembly:
        """Return a writer for the `length` bytes under `root` whose chunks arrive in any order.

        Chunks that an earlier assembly of the same blob has left are read and checked again first.

        Raises:
            DiskFull, StorageFault: There is no room for it.
        """
        return Assembly(self._temporary, root, length, self._take_name)

    def forget_unfinished(self, wanted: Iterable[bytes]) -> None:
        """Throw away what has come of blobs that nobody assembles any more, all but the `wanted` ones."""
        kept = {name for root in wanted for name in part_names(root)}
        with disk_errors(f"list the blobs in {self._temporary}"):
            for leftover in self._temporary.iterdir():
                if _ROOT_NAME.fullmatch(leftover.name.removesuffix(".chunks")) and leftover.name not in kept:
                    leftover.unlink(missing_ok=True)

    def _new_temporary(self) -> Path:
        with self._lock:
            self._serial += 1
            return self._temporary / f"{os.getpid()}-{self._serial}"

    def _take_name(self, temporary: Path, root: bytes) -> None:
        path = self._file(root)
        crashpoint("blob.written")
        os.replace(temporary, path)
        crashpoint("blob.renamed")
        sync_folder(os.path.dirname(path))
        crashpoint("blob.durable")
        with self._lock:
            self._used[root] = self.height
            self._durable.add(root)

    def _chunk_levels(self, root: bytes) -> list[list[bytes]] | None:
        with self._lock:
            levels = self._levels.pop(root, None)
            if levels is not None:
                self._levels[root] = levels  # Used last, so dropped last.
                return levels
        with disk_errors(f"read the blob {root.hex()}"):
            try:
                with open(self._file(root), "rb") as file:
                    hashes = [chunk_hash(data) for data in iter(lambda: file.read(CHUNK_BYTES), b"")]
            except FileNotFoundError:
                return None
        levels = levels_of_hashes(hashes)
        found = levels[-1][0] if hashes else EMPTY_ROOT
        if found != root:
            raise self._damaged(root, found)
        self._keep_levels(root, levels)
        return levels

    def _keep_levels(self, root: bytes, levels: list[list[bytes]]) -> None:
        with self._lock:
            self._forget_levels(root)
            self._levels[root] = levels
            self._hashes_count += len(levels[0])
            while self._hashes_count > HASHES_CACHED_MAX and len(self._levels) > 1:
                self._forget_levels(next(iter(self._levels)))

    def _forget_levels(self, root: bytes) -> None:
        levels = self._levels.pop(root, None)
        if levels is not None:
            self._hashes_count -= len(levels[0])

    def _damaged(self, root: bytes, found: bytes) -> StorageFault:
        return StorageFault(
            f"the blob {self.path(root)} is damaged: its bytes hash to {found.hex()}; "
            "delete that file, it is fetched again from another peer"
        )
