"""SQLite's log is read frame by frame."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pfed.storage.wal import FRAME_HEADER_BYTES, HEADER_BYTES, wal_problem

PAGE_BYTES = 512
FRAME_BYTES = FRAME_HEADER_BYTES + PAGE_BYTES


def write(connection: sqlite3.Connection, number: int) -> None:
    connection.execute("INSERT INTO t VALUES (zeroblob(?))", (number,))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "db", isolation_level=None)
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE t (x)")
    write(connection, 700)
    yield connection
    connection.close()


def test_no_log_and_an_empty_one_are_sound(tmp_path: Path) -> None:
    assert wal_problem(tmp_path / "none") is None
    (tmp_path / "empty").write_bytes(b"")
    assert wal_problem(tmp_path / "empty") is None
    (tmp_path / "short").write_bytes(bytes(HEADER_BYTES - 1))
    assert wal_problem(tmp_path / "short") is not None


def test_every_flipped_byte_of_header_and_frames_is_found(
    database: sqlite3.Connection, tmp_path: Path
) -> None:
    data = (tmp_path / "db-wal").read_bytes()
    copy = tmp_path / "copy"
    copy.write_bytes(data)
    assert wal_problem(copy) is None
    headers = {HEADER_BYTES + frame * FRAME_BYTES + place for frame in range(9) for place in range(24)}
    places = {*range(HEADER_BYTES), *headers, *range(0, len(data), 41), len(data) - 1}
    for place in sorted(place for place in places if place < len(data)):
        copy.write_bytes(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
        assert wal_problem(copy) is not None, place


def test_frames_of_an_older_generation_behind_the_last_one_are_normal(
    database: sqlite3.Connection, tmp_path: Path
) -> None:
    for number in range(20):
        write(database, 300 + number)
    database.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
    size = (tmp_path / "db-wal").stat().st_size
    write(database, 5)
    assert (tmp_path / "db-wal").stat().st_size == size > 20 * FRAME_BYTES
    assert wal_problem(tmp_path / "db-wal") is None
