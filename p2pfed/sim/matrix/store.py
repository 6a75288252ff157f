"""The cells of a matrix on disk: one JSON object a line, durable as soon as its cell is done."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

import msgspec

from p2pfed.errors import LocalError
from p2pfed.sim.matrix.cell import Row
from p2pfed.sim.matrix.plan import Cell, Plan, decode_plan, encode_plan
from p2pfed.storage.files import disk_errors, replace_file, sync_folder

PLAN_FILE, CELLS_FILE = "plan.json", "cells.jsonl"
FILE_MODE = 0o644


class CellStore:
    """A folder with plan.json and cells.jsonl. A last line without its end, from a kill, is cut.

    rows: The newest row of each cell.

    Raises:
        LocalError: A line is damaged, or another matrix is in the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: dict[Cell, Row] = {}
        self._path = folder / CELLS_FILE

    def __enter__(self) -> CellStore:
        with disk_errors(f"write in {self.folder}"):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("ab")
            sync_folder(self.folder)
        data = self._path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            self._file.truncate(len(whole))
        self.rows = read_rows(whole, str(self._path))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def found(self, plan: Plan) -> None:
        """Write the plan; cells that are here stay, so axes may grow and nothing else may change."""
        before = self.plan()
        if before is not None and self.rows and before.settings() != plan.settings():
            old, new = before.settings(), plan.settings()
            name = next(name for name in new if old[name] != new[name])
            raise LocalError(
                f"{self.folder} holds a matrix with {name} = {old[name]}, not {new[name]}; "
                "choose another folder with --output"
            )
        replace_file(self.folder / PLAN_FILE, encode_plan(plan), mode=FILE_MODE)

    def plan(self) -> Plan | None:
        """Return the plan of the folder; None where there is none."""
        return load_plan(self.folder)

    def add(self, row: Row) -> None:
        """Append a row; durable on return."""
        with disk_errors(f"write {self._path}"):
            self._file.write(msgspec.json.encode(row) + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        self.rows[row.cell] = row


def load_plan(folder: Path) -> Plan | None:
    """Return the plan of a folder; None where there is none; raises UsageError where it is damaged."""
    path = folder / PLAN_FILE
    return decode_plan(path.read_bytes(), str(path)) if path.is_file() else None


def load_rows(folder: Path) -> dict[Cell, Row]:
    """Return the rows of a folder without changing it; raises LocalError where a line is damaged."""
    path = folder / CELLS_FILE
    data = path.read_bytes() if path.is_file() else b""
    return read_rows(data[: data.rfind(b"\n") + 1], str(path))


def read_rows(data: bytes, where: str) -> dict[Cell, Row]:
    """Return the newest row of each cell in whole lines; raises LocalError."""
    rows: dict[Cell, Row] = {}
    decoder = msgspec.json.Decoder(Row)
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            row = decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise LocalError(f"line {number} of {where} is damaged: {error}; delete that line") from None
        rows[row.cell] = row
    return rows
