"""Whatever is changed, lost or added on the disk, the audit finds it and says where."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from support import tiny_chain

from p2pfed.storage.audit import AuditReport, audit
from p2pfed.storage.home import Home
from p2pfed.storage.scan import shown
from p2pfed.storage.schema import BLOBS, SEALED, TABLES, TALLIES, Table, Tally, seal_of
from p2pfed.storage.store import Store
from p2pfed.storage.wal import wal_problem

HEIGHTS = 4  # A transfer, a conviction and an EMPTY height are in it.
FLIPS = 1000


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("audit") / "home")
    tiny_chain.make_home(home, HEIGHTS)
    return home


@pytest.fixture
def home(template: Home, tmp_path: Path) -> Home:
    shutil.copytree(template.path, tmp_path / "home")
    return Home(tmp_path / "home")


def audited(home: Home) -> AuditReport:
    return audit(home, tiny_chain.genesis())


def places(report: AuditReport) -> set[str]:
    return {problem.where for problem in report.problems}


def flipped(value: Any, dice: Random) -> Any:
    """Return `value` with one bit of one byte changed."""
    if isinstance(value, int):
        return value ^ 1 << dice.randrange(8)
    if isinstance(value, str):
        place = dice.randrange(len(value))
        return value[:place] + chr(ord(value[place]) ^ 1 << dice.randrange(6)) + value[place + 1 :]
    place = dice.randrange(len(value))
    return value[:place] + bytes([value[place] ^ 1 << dice.randrange(8)]) + value[place + 1 :]


def rows_of(database: sqlite3.Connection) -> list[tuple[Table, int, dict[str, Any]]]:
    found = []
    for table in TABLES:
        cursor = database.execute(f"SELECT rowid AS row_number, * FROM {table.name} ORDER BY 1")
        names = [column[0] for column in cursor.description][1:]
        found += [(table, number, dict(zip(names, row, strict=True))) for number, *row in cursor]
    return found


def set_cell(database: sqlite3.Connection, table: Table, number: int, column: str, value: Any) -> None:
    database.execute(f"UPDATE {table.name} SET {column} = ? WHERE rowid = ?", (value, number))


def flip_cell(
    database: sqlite3.Connection, table: Table, number: int, column: str, value: Any, dice: Random
) -> Any:
    """Flip a bit of a cell and return its new value; another bit where the key is taken."""
    while True:
        changed = flipped(value, dice)
        with suppress(sqlite3.IntegrityError):
            set_cell(database, table, number, column, changed)
            return changed


@contextmanager
def changed(home: Home) -> Iterator[sqlite3.Connection]:
    """Change the database inside the block; afterwards it is as before."""
    before = home.chain_db.read_bytes()
    connection = sqlite3.connect(home.chain_db, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()
        home.chain_db.write_bytes(before)


def reseal(database: sqlite3.Connection) -> None:
    """Make seals and tallies fit what the rows say now, as a liar with the disk in its hands would."""
    for table in SEALED:
        tally = Tally()
        for number, *row in database.execute(f"SELECT rowid, {table.names} FROM {table.name}").fetchall():
            seal = seal_of(table, tuple(row))
            tally = tally.plus(seal)
            set_cell(database, table, number, "seal", seal)
        row = tally.row(table.name)
        database.execute("INSERT OR REPLACE INTO tallies VALUES (?, ?, ?, ?)", (*row, seal_of(TALLIES, row)))


def test_a_sound_home_has_no_problem_and_everything_is_counted(home: Home) -> None:
    heights: list[int] = []
    report = audit(home, tiny_chain.genesis(), heights.append)
    assert report.is_sound
    assert heights == [1, 2, 3, 4]
    # Four voters: AVAILs and precommits of four heights, the precommits again in the next block; prevotes of
    # five polkas, the liar is out of the fifth; updates of three heights, one transfer, two lying votes.
    assert report.signatures == 16 + 16 + 12 + 19 + 12 + 1 + 2
    assert report.blobs == len(list((home.blobs / "sha256").glob("*/*")))


def test_a_thousand_flipped_bytes_are_all_found_where_they_are(template: Home, tmp_path: Path) -> None:
    dice, done = Random(20240607), 0
    while done < FLIPS:
        home = Home(tmp_path / str(done))
        shutil.copytree(template.path, home.path)
        expected: dict[str, tuple[str, str]] = {}
        with sqlite3.connect(home.chain_db) as database:
            for table, number, row in rows_of(database):
                column = dice.choice(list(row))
                row[column] = flip_cell(database, table, number, column, row[column], dice)
                keys = ", ".join(shown(row[name]) for name, _ in table.columns[: table.keys])
                expected[f"{table.name} {keys}"] = table.name, column
        database.close()
        for path in (home.blobs / "sha256").glob("*/*"):
            path.write_bytes(flipped(path.read_bytes(), dice))
            expected[str(path.relative_to(home.path))] = "blob", path.name
        found = places(audited(home))
        assert {where: cell for where, cell in expected.items() if where not in found} == {}
        done += len(expected)
        shutil.rmtree(home.path)


def test_one_flipped_byte_alone_is_found(home: Home) -> None:
    dice = Random(1)
    with changed(home) as database:
        rows = rows_of(database)
    for table, number, row in rows:
        column = dice.choice(list(row))
        with changed(home) as database:
            flip_cell(database, table, number, column, row[column], dice)
            assert audited(home).problems, (table.name, number, column)
    assert audited(home).is_sound


def test_a_flip_is_found_even_where_its_seal_was_made_to_fit(home: Home) -> None:
    dice = Random(2)
    with changed(home) as database:
        rows = rows_of(database)
    for table, number, row in rows:
        for column in [name for name, kind in table.columns if kind is not str and table is not TALLIES]:
            with changed(home) as database:
                flip_cell(database, table, number, column, row[column], dice)
                reseal(database)
                assert audited(home).problems, (table.name, number, column)


def test_each_row_lost_is_found_even_where_the_tally_was_made_to_fit(home: Home) -> None:
    with changed(home) as database:
        rows = rows_of(database)
    for table, number, row in rows:
        with changed(home) as database:
            database.execute(f"DELETE FROM {table.name} WHERE rowid = ?", (number,))
            assert audited(home).problems, (table.name, number)
            # Nobody can know how many polkas or pending values there were, or whether the tip was the tip.
            is_known = (
                table.name in ("meta", "blocks", "ledgers", "blobs") and row.get("kind") != "evaluation"
            )
            if is_known:
                reseal(database)
                assert audited(home).problems, (table.name, number)
    assert audited(home).is_sound


def test_a_row_too_many_is_found(home: Home) -> None:
    row = (3, "payload", bytes(32), "held")
    with changed(home) as database:
        database.execute("INSERT INTO blobs VALUES (?, ?, ?, ?, ?)", (*row, seal_of(BLOBS, row)))
        assert {"blobs", "blobs 3, payload"} <= places(audited(home))
        reseal(database)
        assert places(audited(home)) == {"blobs 3, payload"}


def test_pruned_is_not_missing(home: Home) -> None:
    with changed(home) as database:
        query = "SELECT root FROM blobs WHERE kind = 'payload' AND height = 2 LIMIT 1"
        (root,) = database.execute(query).fetchone()
        (home.blobs / "sha256" / root.hex()[:2] / root.hex()).unlink()
        (problem,) = audited(home).problems
        assert (problem.what, problem.expected) == ("the blob is missing, not pruned", root.hex())
        database.execute("UPDATE blobs SET status = 'pruned' WHERE root = ?", (root,))
        reseal(database)
        assert [problem.what for problem in audited(home).problems] == ["pruned too early"]


@pytest.mark.parametrize("name", ["vote_state.json", "key.json"])
def test_a_flip_in_a_small_file_is_found(name: str, home: Home) -> None:
    path = home.path / name
    data = path.read_bytes()
    path.write_bytes(flipped(data, Random(3)))
    assert places(audited(home)) == {name}


def test_a_file_that_is_no_blob_is_named(home: Home) -> None:
    (home.blobs / "sha256" / "00" / "notes.txt").write_text("mine")
    assert places(audited(home)) == {"data/blobs/sha256/00/notes.txt"}


def test_the_chain_of_another_genesis_is_not_this_one(home: Home) -> None:
    other = msgspec.structs.replace(tiny_chain.genesis(), name="another")
    assert {"meta", "blocks 1"} <= places(audit(home, other))


def test_a_home_without_a_chain_says_so(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    assert places(audited(home)) == {"chain.db"}


def stored_values(path: Path) -> list[tuple[Any, ...]]:
    """Return every value of every table; sqlite3.Error where it can't be read."""
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        return [
            row
            for table in TABLES
            for row in connection.execute(f"SELECT * FROM {table.name} ORDER BY 1, 2, 3")
        ]
    finally:
        connection.close()


def test_a_flip_of_the_database_file_is_found_or_changes_no_stored_value(home: Home) -> None:
    data, before, dice = home.chain_db.read_bytes(), stored_values(home.chain_db), Random(4)
    unchanged = 0
    for place in (*range(0, 100, 3), *(dice.randrange(100, len(data)) for _ in range(200))):
        home.chain_db.write_bytes(
            data[:place] + bytes([data[place] ^ 1 << dice.randrange(8)]) + data[place + 1 :]
        )
        if not audited(home).problems:
            unchanged += 1
            assert stored_values(home.chain_db) == before, place
        for suffix in ("-wal", "-shm"):
            home.chain_db.with_name(home.chain_db.name + suffix).unlink(missing_ok=True)
    assert 0 < unchanged < 200  # Most of a small database is room that nothing uses yet.


def test_a_flip_of_sqlites_log_is_found_or_changes_no_stored_value(tmp_path: Path) -> None:
    home, left = Home(tmp_path / "home"), Home(tmp_path / "killed")
    store = tiny_chain.found(home)
    tiny_chain.keep(store, tiny_chain.steps(1)[0])
    shutil.copytree(home.path, left.path)  # What kill -9 leaves: a log that was never merged.
    store.close()
    log, index = (left.chain_db.with_name(f"chain.db-{name}") for name in ("wal", "shm"))
    data, before, dice = log.read_bytes(), stored_values(left.chain_db), Random(5)
    assert len(data) > 50_000
    assert wal_problem(log) is None
    assert audited(left).is_sound
    for place in (*range(56), *(dice.randrange(len(data)) for _ in range(60))):
        log.write_bytes(data[:place] + bytes([data[place] ^ 1 << dice.randrange(8)]) + data[place + 1 :])
        index.unlink(missing_ok=True)
        assert audited(left).problems or stored_values(left.chain_db) == before, place


def test_a_running_peer_can_be_audited(home: Home) -> None:
    store = Store(home, tiny_chain.genesis())
    with home.lock():
        tiny_chain.keep(store, tiny_chain.steps(HEIGHTS + 1)[-1])
        report = audited(home)
    store.close()
    assert (report.problems, report.heights) == ([], HEIGHTS + 1)


def test_a_lost_index_is_found(home: Home) -> None:
    with changed(home) as database:
        database.execute("DROP INDEX blobs_by_root")
        assert [problem.what for problem in audited(home).problems] == ["schema"]


@pytest.mark.parametrize("is_still_running", [True, False])
def test_what_a_peer_prunes_during_the_audit_is_not_missing(home: Home, is_still_running: bool) -> None:
    with closing(Store(home, tiny_chain.genesis())) as store:
        header = store.chain.header(2)
        assert header is not None

        def prune(height: int) -> None:
            if height == HEIGHTS:
                with store.chain._database.transaction("held"):
                    store.chain._set_status((2, "model", header.model_root, "held"), "pruned")
                store.blobs.path(header.model_root).unlink()

        with home.lock() if is_still_running else nullcontext():
            assert audit(home, tiny_chain.genesis(), prune).problems == []
        # The same file gone without a word in the chain is damage, whether or not anybody runs.
        header = store.chain.header(3)
        assert header is not None
        store.blobs.path(header.model_root).unlink()
        with home.lock() if is_still_running else nullcontext():
            assert "the blob is missing, not pruned" in [problem.what for problem in audited(home).problems]


def test_a_lost_blob_beside_a_damaged_database_is_a_problem_and_no_exception(home: Home) -> None:
    (home.blobs / "sha256").joinpath(*next((home.blobs / "sha256").glob("*/*")).parts[-2:]).unlink()
    with changed(home) as database:
        database.execute("DELETE FROM tallies WHERE name = 'polkas'")
        assert {"the blob is missing, not pruned", "tallies"} <= {p.what for p in audited(home).problems}
