"""Read every row of chain.db as it lies on the disk, and say what is wrong with each; nothing is repaired."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from p2pfed.storage.database import APPLICATION_ID, connect
from p2pfed.storage.files import SQLITE_ERRORS
from p2pfed.storage.schema import INDEXES, SCHEMA_VERSION, SEALED, TABLES, TALLIES, Table, Tally, seal_of

Row = tuple[Any, ...]


class Problem(Struct, frozen=True):
    """Something stored that can't be right: what, where, and the two values that disagree."""

    what: str
    where: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}: expected {self.expected}, found {self.found}"


def shown(value: object) -> str:
    """Return a value as a problem shows it: bytes as hex, long ones cut."""
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= 80 else f"{text[:72]}… ({len(text)} characters)"


class Scan:
    """One consistent view of chain.db. Rows that are not sound become problems and are passed over."""

    def __init__(self, path: Path, problems: list[Problem]) -> None:
        self._path = path
        self._problems = problems
        self._connection: sqlite3.Connection | None = None
        self._tallies: dict[str, Tally] = {}

    def open(self) -> bool:
        """Check the file itself and the schema; answer whether rows can be read at all."""
        if not self._path.is_file():
            self.report("there is no chain", self._path.name, "a file", "nothing")
            return False
        try:
            self._connection = connect(self._path, read_only=True)
            self._connection.execute("BEGIN")
            self._verify_file(self._connection)
        except SQLITE_ERRORS as error:
            self.report("SQLite can't read the file", self._path.name, "a database", str(error))
            return False
        self._tallies = {row[0]: Tally.of_row(row) for row in self.rows(TALLIES)}
        names = sorted(table.name for table in SEALED)
        if sorted(self._tallies) != names:
            self.report("tallies", "tallies", ", ".join(names), ", ".join(sorted(self._tallies)))
        return True

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def report(self, what: str, where: str, expected: object, found: object) -> None:
        self._problems.append(Problem(what, where, shown(expected), shown(found)))

    def rows(self, table: Table) -> Iterator[Row]:
        """Yield the sound rows of a table, ascending by key; at the end its tally is compared."""
        assert self._connection is not None
        key = ", ".join(name for name, _ in table.columns[: table.keys])
        tally = Tally()
        try:
            found = self._connection.execute(f"SELECT {table.names}, seal FROM {table.name} ORDER BY {key}")  # noqa: S608
            for *columns, seal in found:
                row = tuple(columns)
                where = f"{table.name} {', '.join(shown(value) for value in row[: table.keys])}"
                if not table.is_typed(row) or not isinstance(seal, bytes):
                    self.report(
                        "types of the columns", where, table.names, [type(value).__name__ for value in row]
                    )
                    continue
                expected = seal_of(table, row)
                tally = tally.plus(seal)
                if seal == expected:
                    yield row
                else:
                    self.report("seal of the row", where, expected, seal)
        except SQLITE_ERRORS as error:
            self.report("SQLite can't read the table", table.name, "rows", str(error))
            return
        stated = self._tallies.get(table.name, Tally())
        if table in SEALED and tally != stated:
            self.report("rows lost, changed or too many", table.name, stated.shown, tally.shown)

    def _verify_file(self, connection: sqlite3.Connection) -> None:
        for pragma, expected in (("application_id", APPLICATION_ID), ("user_version", SCHEMA_VERSION)):
            (found,) = connection.execute(f"PRAGMA {pragma}").fetchone()
            if found != expected:
                self.report(pragma, self._path.name, expected, found)
        for (verdict,) in connection.execute("PRAGMA integrity_check(16)"):
            if verdict != "ok":
                self.report("SQLite's integrity check", self._path.name, "ok", verdict)
        wanted = sorted((*(table.sql for table in TABLES), *INDEXES))
        present = connection.execute(
            "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY sql"
        ).fetchall()
        if [sql for (sql,) in present] != wanted:
            self.report("schema", self._path.name, wanted, [sql for (sql,) in present])
