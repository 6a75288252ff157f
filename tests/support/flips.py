"""Flip one bit of any value that a home stores, by SQL or in a file, and put it back."""

from __future__ import annotations

import importlib.util
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import p2pfed
from p2pfed.runtime.peer import read_genesis
from p2pfed.storage.audit import audit
from p2pfed.storage.home import Home
from p2pfed.storage.schema import TABLES

SMALL_FILES = ("key.json", "vote_state.json", "peers.json")
_BLOCK_PARTS = ("header", "body", "certificate")


@dataclass(frozen=True, slots=True)
class Place:
    """Where one bit is flipped: a cell of chain.db (`table`, `row`, `column`) or a file below the home."""

    kind: str
    path: str
    table: str = ""
    row: int = 0
    column: str = ""


def places(home: Home) -> dict[str, list[Place]]:
    """Return every place of a home by kind: header, body, certificate, model, payload, other cells …"""
    found: dict[str, list[Place]] = {}
    path = str(home.chain_db.relative_to(home.path))
    with closing(_connection(home)) as database:
        for table in TABLES:
            for (row,) in database.execute(f"SELECT rowid FROM {table.name} ORDER BY 1").fetchall():
                for column in (*(name for name, _ in table.columns), "seal"):
                    is_part = table.name == "blocks" and column in _BLOCK_PARTS
                    kind = column if is_part else f"other cells of {table.name}"
                    found.setdefault(kind, []).append(Place(kind, path, table.name, row, column))
        kinds = dict(database.execute("SELECT root, kind FROM blobs").fetchall())
    for blob in sorted((home.blobs / "sha256").glob("*/*")):
        kind = kinds.get(bytes.fromhex(blob.name), "blob that no block names")
        found.setdefault(kind, []).append(Place(kind, str(blob.relative_to(home.path))))
    for name in SMALL_FILES:
        if (home.path / name).exists():
            found.setdefault(name, []).append(Place(name, name))
    return found


def seeded_places(home: Home, count: int, dice: Random) -> Iterator[Place]:
    """Yield `count` places, each kind in turn, drawn within its kind."""
    by_kind = places(home)
    kinds = sorted(by_kind)
    for number in range(count):
        yield dice.choice(by_kind[kinds[number % len(kinds)]])


@contextmanager
def flipped(home: Home, place: Place, dice: Random) -> Iterator[None]:
    """Flip one bit of the value inside the block; afterwards the home is as before."""
    path = home.path / place.path
    before = path.read_bytes()
    try:
        if place.table:
            with closing(_connection(home)) as database:
                _flip_cell(database, place, dice)
        else:
            path.write_bytes(_with_flip(before, dice))
        yield
    finally:
        path.write_bytes(before)
        forget_log(home)


@contextmanager
def flipped_file(home: Home, at: int, bit: int) -> Iterator[None]:
    """Flip a bit of the database file itself inside the block."""
    before = home.chain_db.read_bytes()
    try:
        home.chain_db.write_bytes(before[:at] + bytes([before[at] ^ 1 << bit]) + before[at + 1 :])
        yield
    finally:
        home.chain_db.write_bytes(before)
        forget_log(home)


def forget_log(home: Home) -> None:
    """Remove what a reader of a closed database leaves beside it."""
    for suffix in ("-wal", "-shm"):
        home.chain_db.with_name(home.chain_db.name + suffix).unlink(missing_ok=True)


def stored_values(home: Home) -> list[tuple[Any, ...]] | None:
    """Return every value of every table; None where SQLite can't read them."""
    uri = f"{home.chain_db.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as database:
            return [
                row
                for table in TABLES
                for row in database.execute(f"SELECT * FROM {table.name} ORDER BY 1, 2, 3")
            ]
    except (sqlite3.Error, UnicodeDecodeError):
        return None


class Verifiers:
    """Both verifiers in this process: what they answer decides the exit code of `p2pfed verify`."""

    def __init__(self) -> None:
        self._independent = _load_independent()

    def problems(self, home: Home) -> tuple[list[str], list[str]]:
        """Return what `verify` and what `verify --independent` find."""
        ours = [str(problem) for problem in audit(home, read_genesis(home)).problems]
        forget_log(home)
        theirs = [str(problem) for problem in self._independent.verify(home.path).problems]
        forget_log(home)
        return ours, theirs


def _load_independent() -> ModuleType:
    path = Path(p2pfed.__file__).parent / "independent" / "verify.py"
    spec = importlib.util.spec_from_file_location("independent_verify", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    slow, answers = module.Signatures._holds, {}

    def holds(self: Any, *question: bytes) -> bool:
        """Ask about the same signature only once: it costs milliseconds, and a flip changes few of them."""
        if question not in answers:
            answers[question] = slow(self, *question)
        return bool(answers[question])

    module.Signatures._holds = holds  # type: ignore[attr-defined]
    return module


def _connection(home: Home) -> sqlite3.Connection:
    return sqlite3.connect(home.chain_db, isolation_level=None)


def _flip_cell(database: sqlite3.Connection, place: Place, dice: Random) -> None:
    query = f"SELECT {place.column} FROM {place.table} WHERE rowid = ?"
    ((value,),) = database.execute(query, (place.row,)).fetchall()
    while True:  # Another bit where the changed key is taken.
        with suppress(sqlite3.IntegrityError):
            database.execute(
                f"UPDATE {place.table} SET {place.column} = ? WHERE rowid = ?",
                (_with_flip(value, dice), place.row),
            )
            return


def _with_flip(value: Any, dice: Random) -> Any:
    if isinstance(value, int):
        return value ^ 1 << dice.randrange(8)
    if isinstance(value, str):
        at = dice.randrange(len(value))
        return value[:at] + chr(ord(value[at]) ^ 1 << dice.randrange(6)) + value[at + 1 :]
    at = dice.randrange(len(value))
    return value[:at] + bytes([value[at] ^ 1 << dice.randrange(8)]) + value[at + 1 :]
