"""Replace files whole and durably, and turn the disk's complaints into our own errors."""

from __future__ import annotations

import errno
import fcntl
import json
import mmap
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from p2pfed.errors import DiskFull, StorageFault
from p2pfed.storage.crash_points import crashpoint

REMEDY = "run `p2pfed verify`, then move data/ away and start with --join: the chain is fetched again"
PRIVATE_MODE = 0o600
FOLDER_MODE = 0o700
SMALL_FILE_BYTES_MAX = 16 << 20  # Key, vote state, peers: nothing honest comes near it.

# Python's sqlite3 raises UnicodeDecodeError where SQLite's own message quotes damaged text.
SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)
_DIRECT_BYTES = 1 << 20  # One system call past the page cache; what is left of a file goes through it.
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def disk_errors(action: str) -> Iterator[None]:
    """Raise DiskFull or StorageFault, with `action` in the sentence, where the block meets a disk error."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull(f"the disk is full: can't {action}; free some space and start again") from error
        raise StorageFault(
            f"can't {action}: {error.strerror or error}; check the disk and start again"
        ) from error
    except SQLITE_ERRORS as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            raise DiskFull(f"the disk is full: can't {action}; free some space and start again") from error
        raise StorageFault(f"can't {action}: {error}; {REMEDY}") from error


def sync_folder(folder: Path | str) -> None:
    """Make the names inside `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_synced(path: Path, data: bytes | memoryview, mode: int, *, is_read_soon: bool = True) -> None:
    """Write a new file and fsync it; a file that can't be finished is removed.

    Args:
        path: Where; an older file loses its content first.
        data: All of it.
        mode: Who may read and write it.
        is_read_soon: False where memory has it for as long as many may ask: a large file then goes to disk
            past the page cache, which costs more than writing where pages come slowly.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        try:
            os.fchmod(descriptor, mode)  # The umask must not widen or narrow it.
            view = memoryview(data).cast("B")
            if not is_read_soon and len(view) >= _DIRECT_BYTES:
                view = view[_write_direct(descriptor, view) :]
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        with suppress(OSError):
            path.unlink()
        raise


def _write_direct(descriptor: int, view: memoryview) -> int:
    """Write past the page cache, and return how many bytes that were: a file system may refuse any of it."""
    flags, done = fcntl.fcntl(descriptor, fcntl.F_GETFL), 0
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_DIRECT)
    except (OSError, AttributeError):  # A file system or an operating system that has no such thing.
        return 0
    try:
        with mmap.mmap(-1, _DIRECT_BYTES) as piece, memoryview(piece) as aligned:
            while done % _DIRECT_BYTES == 0 and len(view) - done >= _DIRECT_BYTES:
                aligned[:] = view[done : done + _DIRECT_BYTES]
                done += os.write(descriptor, aligned)
    except OSError as error:
        if error.errno != errno.EINVAL:  # Its blocks are larger than a page.
            raise
    finally:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags)
    return done


def replace_file(path: Path, data: bytes, point: str = "file", mode: int = PRIVATE_MODE) -> None:
    """Replace `path` whole: temporary file, fsync, rename, fsync of the folder. Durable on return.

    A crash at any moment leaves the old content or the new one, never a mixture.

    Raises:
        DiskFull, StorageFault: The disk refused; the old content stands.
    """
    temporary = path.with_name(path.name + ".tmp")
    crashpoint(f"{point}.begin")
    with disk_errors(f"write {path}"):
        write_synced(temporary, data, mode)
        crashpoint(f"{point}.written")
        os.replace(temporary, path)
        crashpoint(f"{point}.renamed")
        sync_folder(path.parent)
    crashpoint(f"{point}.durable")


def read_small(path: Path, bytes_max: int = SMALL_FILE_BYTES_MAX) -> bytes | None:
    """Return the content of a small file, None where there is none.

    Raises:
        StorageFault: It can't be read, or is larger than `bytes_max`.
    """
    with disk_errors(f"read {path}"):
        try:
            with path.open("rb") as file:
                data = file.read(bytes_max + 1)
        except FileNotFoundError:
            return None
    if len(data) > bytes_max:
        raise StorageFault(f"{path} is larger than {bytes_max} bytes; that is no file of p2pfed")
    return data


def render_json(content: object) -> bytes:
    """Return the one spelling of `content` in our small files, so that a reader can compare byte by byte."""
    return (json.dumps(content, indent=2) + "\n").encode("ascii")


def make_folder(folder: Path) -> None:
    """Create `folder` and what is missing above it, readable by its owner only, durably."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    sync_folder(folder.parent)


def free_bytes(path: Path) -> int:
    """Return how many bytes this user can still write on the disk of `path`."""
    with disk_errors(f"ask for free space at {path}"):
        status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def verify_free_space(path: Path, bytes_needed: int) -> None:
    """Raise DiskFull, with both numbers, where fewer than `bytes_needed` bytes are free."""
    free = free_bytes(path)
    if free < bytes_needed:
        raise DiskFull(
            f"{free} bytes are free at {path} and two blocks need {bytes_needed}; "
            "the peer stops before the height, free some space and start it again"
        )
