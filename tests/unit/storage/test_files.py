"""Files are replaced whole, and the disk's complaints become our own errors."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

import pytest

from p2pfed.errors import DiskFull, StorageFault
from p2pfed.storage import files


def failing(code: int) -> object:
    def fail(*_arguments: object) -> int:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("call", ["write", "fsync", "replace", "open"])
@pytest.mark.parametrize(
    ("code", "fault", "exit_code"),
    [
        (errno.ENOSPC, DiskFull, 8),
        (errno.EDQUOT, DiskFull, 8),
        (errno.EIO, StorageFault, 5),
    ],
)
def test_a_disk_that_refuses_leaves_the_old_content(
    call: str,
    code: int,
    fault: type[StorageFault],
    exit_code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "file"
    files.replace_file(path, b"old")
    with monkeypatch.context() as patch:
        patch.setattr(files.os, call, failing(code))
        with pytest.raises(StorageFault) as refusal:
            files.replace_file(path, b"new")
    assert type(refusal.value) is fault
    assert refusal.value.exit_code == exit_code
    assert path.read_bytes() == b"old"


def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(files.os, "write", lambda descriptor, data: real(descriptor, data[:3]))
    files.replace_file(tmp_path / "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_a_write_is_synced_before_the_name_changes_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)

        def noted(*arguments: object, name: str = name, real: object = real) -> object:
            is_folder = name == "fsync" and os.path.isdir(f"/proc/self/fd/{arguments[0]}")
            calls.append("folder" if is_folder else name)
            return real(*arguments)  # type: ignore[operator]

        monkeypatch.setattr(files.os, name, noted)
    files.replace_file(tmp_path / "file", b"x")
    assert calls == ["fsync", "replace", "folder"]


def test_a_full_database_is_a_full_disk(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "db")
    connection.execute("CREATE TABLE t (x)")
    connection.execute("PRAGMA max_page_count = 2")
    with pytest.raises(DiskFull), files.disk_errors("write"):
        connection.execute("INSERT INTO t VALUES (zeroblob(100000))")
    connection.close()


def test_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        files.replace_file(tmp_path / "file", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_an_oversized_small_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert files.read_small(path) is None
    with path.open("wb") as file:
        file.truncate(files.SMALL_FILE_BYTES_MAX)
    assert len(files.read_small(path) or b"") == files.SMALL_FILE_BYTES_MAX
    with path.open("ab") as file:
        file.write(b"x")
    with pytest.raises(StorageFault, match="larger than"):
        files.read_small(path)


def test_too_little_space_is_said_with_both_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert files.free_bytes(tmp_path) > 0
    monkeypatch.setattr(files, "free_bytes", lambda _path: 999)
    files.verify_free_space(tmp_path, 999)
    with pytest.raises(DiskFull, match=r"999 bytes are free .* need 1000"):
        files.verify_free_space(tmp_path, 1000)
