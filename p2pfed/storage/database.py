"""chain.db as sealed rows: open it, read checked rows, change them inside one durable transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from p2pfed.errors import LocalError, StorageFault
from p2pfed.storage.crash_points import crashpoint
from p2pfed.storage.files import REMEDY, disk_errors, sync_folder
from p2pfed.storage.schema import (
    INDEXES,
    SCHEMA_VERSION,
    SEALED,
    TABLES,
    TALLIES,
    Table,
    Tally,
    Value,
    seal_of,
)

APPLICATION_ID = 0x70326665  # "p2fe": tells chain.db from any other SQLite file.
BUSY_TIMEOUT_S = 5.0  # Only readers (status, verify) can stand in the way, and not for long.

Row = tuple[Any, ...]  # Typed as the table says; `insert` and `rows` check it.


def connect(path: Path, read_only: bool) -> sqlite3.Connection:
    """Return a connection with explicit transactions; the caller's thread owns it."""
    mode = "ro" if read_only else "rwc"
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        timeout=BUSY_TIMEOUT_S,
        check_same_thread=False,
        cached_statements=32,
    )
    # A damaged file can hold a hostile schema or torn cells; SQLite then refuses rather than guesses.
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute("PRAGMA cache_size = -4096")  # KiB: a peer's memory is limited to 80 MB.
    return connection


class Database:
    """The sealed tables of one chain.db; a single process writes, any number read."""

    def __init__(self, path: Path, read_only: bool = False) -> None:
        """Open `path`, creating it unless `read_only`.

        Raises:
            LocalError: There is none to read, or another version of p2pfed wrote it.
            StorageFault: It is damaged or no database of p2pfed.
        """
        self.path = path
        self._is_read_only = read_only
        if read_only and not path.is_file():
            raise LocalError(f"there is no chain in {path}; the peer has not run yet")
        with disk_errors(f"open {path}"):
            self._connection = connect(path, read_only)
            try:
                self._open(read_only)
            except BaseException:
                self._connection.close()
                raise

    def _open(self, read_only: bool) -> None:
        connection = self._connection
        if not read_only:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
                self._create()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION_ID:
            raise StorageFault(f"{self.path} is damaged or no chain of p2pfed; run `p2pfed verify`")
        if version != SCHEMA_VERSION:
            raise LocalError(
                f"{self.path} has version {version}, this p2pfed reads {SCHEMA_VERSION}; install that one"
            )
        self._tallies = {str(row[0]): Tally.of_row(row) for row in self.rows(TALLIES)}
        if sorted(self._tallies) != sorted(table.name for table in SEALED):
            raise StorageFault(f"{self.path} lacks its tallies; run `p2pfed verify`")

    def _create(self) -> None:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        for statement in (*(table.sql for table in TABLES), *INDEXES):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._tallies = {}
        for table in SEALED:
            self._write_tally(table.name, Tally())
        connection.execute("COMMIT")
        sync_folder(self.path.parent)

    def close(self) -> None:
        """Let go of the file; whoever writes it first moves everything into the main file.

        A reader must not: SQLite lets even a read-only connection take the writer's lock for that, and a peer
        that can't write for BUSY_TIMEOUT_S halts.
        """
        if not self._is_read_only:
            with suppress(sqlite3.Error):  # A reader may be in the way; the next start merges the log.
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()

    @contextmanager
    def transaction(self, point: str) -> Iterator[None]:
        """Make the changes of the block durable together, or none of them; passes three crash points.

        Raises:
            DiskFull, StorageFault: Nothing has changed.
        """
        crashpoint(f"{point}.begin")
        with disk_errors(f"write to {self.path}"):
            before = dict(self._tallies)
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                for name, tally in self._tallies.items():
                    if tally != before[name]:
                        self._write_tally(name, tally)
                crashpoint(f"{point}.rows")
                self._connection.execute("COMMIT")
            except BaseException:
                self._tallies = before
                with suppress(sqlite3.Error):  # SQLite has rolled back by itself after some errors.
                    self._connection.execute("ROLLBACK")
                raise
        crashpoint(f"{point}.committed")

    def insert(self, table: Table, row: Row) -> None:
        """Add a row; inside a transaction."""
        assert self._connection.in_transaction
        assert table.is_typed(row), (table.name, [type(value) for value in row])
        seal = seal_of(table, row)
        marks = ", ".join("?" * (len(row) + 1))
        self._connection.execute(f"INSERT INTO {table.name} VALUES ({marks})", (*row, seal))  # noqa: S608
        self._tallies[table.name] = self._tallies[table.name].plus(seal)

    def delete(self, table: Table, where: str, values: Row = ()) -> list[Row]:
        """Remove the rows that match and return them; inside a transaction."""
        assert self._connection.in_transaction
        removed = self.rows(table, where, values)
        self._connection.execute(f"DELETE FROM {table.name} WHERE {where}", values)  # noqa: S608
        for row in removed:
            self._tallies[table.name] = self._tallies[table.name].minus(seal_of(table, row))
        return removed

    def rows(self, table: Table, where: str = "1", values: Row = (), limit: int = -1) -> list[Row]:
        """Return the rows that match, ascending by key, each checked against its seal.

        Raises:
            StorageFault: A row is not what was written, or the file can't be read.
        """
        key = ", ".join(name for name, _ in table.columns[: table.keys])
        query = f"SELECT {table.names}, seal FROM {table.name} WHERE {where} ORDER BY {key} LIMIT ?"  # noqa: S608
        with disk_errors(f"read {self.path}"):
            found = self._connection.execute(query, (*values, limit)).fetchall()
        for row in found:
            if not table.is_typed(row[:-1]) or seal_of(table, row[:-1]) != row[-1]:
                raise StorageFault(
                    f"a row of table {table.name} in {self.path} is damaged (key {row[: table.keys]!r}); "
                    f"{REMEDY}"
                )
        return [row[:-1] for row in found]

    def scalar(self, query: str, values: Row = ()) -> Value | None:
        """Return the first column of the first row of a query; None where there is none."""
        with disk_errors(f"read {self.path}"):
            row = self._connection.execute(query, values).fetchone()
        return None if row is None else row[0]

    def _write_tally(self, name: str, tally: Tally) -> None:
        row = tally.row(name)
        self._connection.execute(
            "INSERT OR REPLACE INTO tallies VALUES (?, ?, ?, ?)", (*row, seal_of(TALLIES, row))
        )
        self._tallies[name] = tally
