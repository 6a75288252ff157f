"""The tables of chain.db, and the seal that every row carries.

A seal is a hash over the whole row, and each table has a tally (how many rows, the sum of their seals), so
that a flipped byte, a lost row or a row too many shows even where the content alone could not tell.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from p2pfed.primitives import codec
from p2pfed.primitives.digest import tagged

SCHEMA_VERSION = 1
SEAL_MODULUS = 1 << 256

Value = int | str | bytes
BlobKind = Literal["payload", "model", "exponents", "evaluation"]
BlobStatus = Literal["held", "absent", "pruned"]  # Absent: never fetched. Pruned: retention removed it.

_SQL_TYPES: dict[type, str] = {int: "INTEGER", str: "TEXT", bytes: "BLOB"}


class Table(Struct, frozen=True):
    """A table: its columns with their types, the first `keys` of them being the primary key."""

    name: str
    columns: tuple[tuple[str, type], ...]
    keys: int

    @property
    def names(self) -> str:
        return ", ".join(name for name, _ in self.columns)

    @property
    def sql(self) -> str:
        columns = ", ".join(f"{name} {_SQL_TYPES[kind]} NOT NULL" for name, kind in self.columns)
        key = ", ".join(name for name, _ in self.columns[: self.keys])
        return f"CREATE TABLE {self.name} ({columns}, seal BLOB NOT NULL, PRIMARY KEY ({key}))"

    def is_typed(self, row: tuple[object, ...]) -> bool:
        """Answer whether `row` (without its seal) has exactly the columns' types."""
        return len(row) == len(self.columns) and all(
            type(value) is kind for value, (_, kind) in zip(row, self.columns, strict=True)
        )


META = Table("meta", (("name", str), ("value", bytes)), 1)
BLOCKS = Table(
    "blocks",
    (
        ("height", int),
        ("value_id", bytes),
        ("body_hash", bytes),
        ("header", bytes),
        ("body", bytes),
        ("certificate", bytes),
    ),
    1,
)
LEDGERS = Table("ledgers", (("height", int), ("ledger", bytes)), 1)
PENDING = Table("pending", (("value_id", bytes), ("height", int), ("header", bytes), ("body", bytes)), 1)
POLKAS = Table(
    "polkas",
    (("height", int), ("round", int), ("value_id", bytes), ("valid_round", int), ("certificate", bytes)),
    4,
)
BLOBS = Table("blobs", (("height", int), ("kind", str), ("root", bytes), ("status", str)), 3)
TALLIES = Table("tallies", (("name", str), ("count", int), ("sum", bytes)), 1)

SEALED: tuple[Table, ...] = (META, BLOCKS, LEDGERS, PENDING, POLKAS, BLOBS)  # Each has a row in `tallies`.
TABLES: tuple[Table, ...] = (*SEALED, TALLIES)
INDEXES: tuple[str, ...] = (
    "CREATE INDEX blocks_by_value ON blocks (value_id)",
    "CREATE INDEX blocks_by_body ON blocks (body_hash)",
    "CREATE INDEX blobs_by_root ON blobs (root)",
)


def seal_of(table: Table, row: tuple[Value, ...]) -> bytes:
    """Return H("row", [table, columns…]) of a row: 32 bytes."""
    return tagged("row", codec.encode((table.name, *row)))


class Tally(Struct, frozen=True):
    """How many rows a table has and the sum of their seals modulo 2^256."""

    count: int = 0
    sum: int = 0

    def plus(self, seal: bytes) -> Tally:
        return Tally(self.count + 1, (self.sum + int.from_bytes(seal, "big")) % SEAL_MODULUS)

    def minus(self, seal: bytes) -> Tally:
        return Tally(self.count - 1, (self.sum - int.from_bytes(seal, "big")) % SEAL_MODULUS)

    @property
    def shown(self) -> str:
        return f"{self.count} rows with sum {self.sum:064x}"

    @classmethod
    def of_row(cls, row: tuple[Value, ...]) -> Tally:
        _, count, total = row
        assert isinstance(count, int)
        assert isinstance(total, bytes)
        return cls(count, int.from_bytes(total, "big"))

    def row(self, name: str) -> tuple[Value, ...]:
        """Return the row of `tallies` that says so."""
        return name, self.count, self.sum.to_bytes(32, "big")
