"""Large files that memory has go past the page cache where the system lets them, and are whole anyway."""

from __future__ import annotations

import errno
import fcntl
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from p2pfed.primitives.merkle import chunk_root
from p2pfed.storage import files
from p2pfed.storage.blob_store import BlobStore
from p2pfed.types.params import MIB

DIRECT = getattr(os, "O_DIRECT", 0)
DATA = random.Random(0).randbytes(3 * MIB + 777)
real_write = os.write


def write(path: Path, data: bytes = DATA, *, is_read_soon: bool = False) -> None:
    files.write_synced(path, data, files.PRIVATE_MODE, is_read_soon=is_read_soon)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """Return the size of each write, and whether it went past the cache."""
    made: list[tuple[int, bool]] = []

    def note(descriptor: int, data: memoryview) -> int:
        made.append((len(data), bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & DIRECT)))
        return real_write(descriptor, data)

    monkeypatch.setattr(files.os, "write", note)
    return made


def has_direct_writes(folder: Path) -> bool:
    try:
        os.close(os.open(folder / "probe", os.O_WRONLY | os.O_CREAT | DIRECT))
    except OSError:
        return False
    return DIRECT != 0


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 2 * MIB, len(DATA)])
def test_a_file_of_any_size_is_whole(size: int, tmp_path: Path) -> None:
    write(tmp_path / "file", DATA[:size])
    assert (tmp_path / "file").read_bytes() == DATA[:size]


def test_whole_pieces_go_past_the_cache_and_the_rest_through_it(
    tmp_path: Path, calls: list[tuple[int, bool]]
) -> None:
    if not has_direct_writes(tmp_path):
        pytest.skip("this file system writes nothing past its cache")
    write(tmp_path / "file")
    assert calls == [(MIB, True)] * 3 + [(777, False)]


def test_what_is_read_soon_stays_in_the_cache(tmp_path: Path, calls: list[tuple[int, bool]]) -> None:
    write(tmp_path / "file", is_read_soon=True)
    assert calls == [(len(DATA), False)]


def test_a_file_system_without_direct_writes_gets_plain_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, refused = fcntl.fcntl, []

    def refuse(descriptor: int, command: int, value: int = 0) -> int:
        if command == fcntl.F_SETFL and value & DIRECT:
            refused.append(descriptor)
            raise OSError(errno.EINVAL, "no such thing")
        return real(descriptor, command, value)

    monkeypatch.setattr(files.fcntl, "fcntl", refuse)
    write(tmp_path / "file")
    assert refused
    assert (tmp_path / "file").read_bytes() == DATA


def refuse_direct(code: int, after: int) -> Callable[[int, memoryview], int]:
    """Return a write that fails once `after` pieces went past the cache."""
    left = after

    def fail(descriptor: int, data: memoryview) -> int:
        nonlocal left
        if len(data) == MIB:
            left -= 1
            if left < 0:
                raise OSError(code, os.strerror(code))
        return real_write(descriptor, data)

    return fail


@pytest.mark.parametrize("after", [0, 1])
def test_blocks_larger_than_a_page_are_written_plainly(
    after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.os, "write", refuse_direct(errno.EINVAL, after))
    write(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA


def test_a_short_direct_write_is_continued_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_half(descriptor: int, data: memoryview) -> int:
        return real_write(descriptor, data[: MIB // 2] if len(data) == MIB else data)

    monkeypatch.setattr(files.os, "write", write_half)
    write(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.os, "write", refuse_direct(errno.ENOSPC, 1))
    with pytest.raises(OSError, match="space"):
        write(tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_a_blob_that_memory_has_is_read_back_from_the_disk(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path)
    blobs.open()
    blobs.put_as(chunk_root(DATA), DATA, is_read_soon=False)
    assert blobs.load(chunk_root(DATA)) == DATA
