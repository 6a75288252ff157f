"""The verifier that shares no code with p2pfed reaches the same verdict."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import msgspec
import pytest
from support import tiny_chain

from p2pfed.primitives import codec, merkle
from p2pfed.primitives.digest import tagged
from p2pfed.primitives.keys import has_valid_signature
from p2pfed.storage.audit import audit
from p2pfed.storage.home import Home
from p2pfed.storage.peers_file import save_peers
from p2pfed.storage.schema import SEALED, TABLES, TALLIES, Tally, seal_of
from p2pfed.storage.store import Store
from p2pfed.storage.wal import wal_problem
from p2pfed.types.bitmap import bitmap_of
from p2pfed.types.block import Block, Body, Header
from p2pfed.types.certificate import CommitCert
from p2pfed.types.peer import PeerRecord
from p2pfed.types.vote import Precommit

PROGRAM = Path(__file__).parents[3] / "p2pfed" / "independent" / "verify.py"
HEIGHTS = 4
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("stand_alone_verify", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    slow, answers = module.Signatures._holds, {}

    def holds(self: Any, *question: bytes) -> bool:
        """Ask about the same signature only once in all tests: each costs milliseconds."""
        if question not in answers:
            answers[question] = slow(self, *question)
        return answers[question]

    module.Signatures._holds = holds
    return module


VERIFY = loaded()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("independent") / "home")
    tiny_chain.make_home(home, HEIGHTS)
    record = PeerRecord(tiny_chain.KEYS[0].public, 1, ("/ip4/10.0.0.1/tcp/1",), tiny_chain.BLANK)
    save_peers(home.peers, [tiny_chain.signed(record, tiny_chain.KEYS[0], tiny_chain.genesis().chain_id)])
    return home


@pytest.fixture
def home(template: Home, tmp_path: Path) -> Home:
    shutil.copytree(template.path, tmp_path / "home")
    return Home(tmp_path / "home")


def run(home: Home, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", str(PROGRAM), str(home.path), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def verdicts(home: Home) -> tuple[bool, bool]:
    """Return what the audit and the independent verifier say: is it sound?"""
    return audit(home, tiny_chain.genesis()).is_sound, not VERIFY.verify(home.path).problems


def changes(home: Home) -> Iterator[str]:
    """Change every column of every table once, then some blobs and files, one at a time."""
    dice = Random(11)
    before = home.chain_db.read_bytes()
    with closing(sqlite3.connect(home.chain_db)) as database:
        cells = [
            (
                table.name,
                column,
                *dice.choice(database.execute(f"SELECT rowid, {column} FROM {table.name}").fetchall()),
            )
            for table in TABLES
            for column in (*(name for name, _ in table.columns), "seal")
        ]
    for table, column, number, value in cells:
        with closing(sqlite3.connect(home.chain_db, isolation_level=None)) as database:
            database.execute(
                f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (flipped(value, dice), number)
            )
        yield f"{table}.{column}"
        home.chain_db.write_bytes(before)
    files = sorted((home.blobs / "sha256").glob("*/*"))[:4]
    for path in (*files, home.vote_state, home.key, home.peers):
        data = path.read_bytes()
        path.write_bytes(flipped(data, dice))
        yield path.name
        path.write_bytes(data)


def flipped(value: Any, dice: Random) -> Any:
    if isinstance(value, int):
        return value ^ 1 << 9
    if isinstance(value, str):
        return value[:-1] + chr(ord(value[-1]) ^ 1)
    place = dice.randrange(len(value))
    return value[:place] + bytes([value[place] ^ 1 << dice.randrange(8)]) + value[place + 1 :]


def test_a_sound_home_is_sound_for_both_and_the_counts_agree(home: Home) -> None:
    ours = audit(home, tiny_chain.genesis())
    done = run(home, "--json")
    theirs = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert theirs["sound"]
    assert theirs["problems"] == []
    peers = 1  # Its signature is checked, but the audit counts those of the chain.
    assert (theirs["heights"], theirs["blobs"]) == (ours.heights, ours.blobs) == (HEIGHTS, ours.blobs)
    assert theirs["signatures"] == ours.signatures + peers


def test_it_imports_nothing_of_p2pfed(home: Home) -> None:
    program = (
        "import runpy, sys\nsys.argv = sys.argv[1:]\n"
        "try:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as end:\n    assert end.code == 0, end.code\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('p2pfed', 'msgspec', 'coincurve')])"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, str(PROGRAM), str(home.path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_both_find_every_change(home: Home) -> None:
    seen = []
    for change in changes(home):
        assert verdicts(home) == (False, False), change
        seen.append(change)
    assert len(seen) == sum(len(table.columns) + 1 for table in TABLES) + 7
    assert verdicts(home) == (True, True)


def reseal(database: sqlite3.Connection) -> None:
    for table in SEALED:
        tally = Tally()
        for number, *row in database.execute(f"SELECT rowid, {table.names} FROM {table.name}").fetchall():
            seal = seal_of(table, tuple(row))
            tally = tally.plus(seal)
            database.execute(f"UPDATE {table.name} SET seal = ? WHERE rowid = ?", (seal, number))
        row = tally.row(table.name)
        database.execute("INSERT OR REPLACE INTO tallies VALUES (?, ?, ?, ?)", (*row, seal_of(TALLIES, row)))


@pytest.mark.parametrize("column", ["header", "body", "certificate"])
def test_both_find_what_was_changed_with_its_seal_made_to_fit(column: str, home: Home) -> None:
    dice, before = Random(12), home.chain_db.read_bytes()
    for height in (1, 3, 4):
        for _ in range(3):
            with closing(sqlite3.connect(home.chain_db, isolation_level=None)) as database:
                (value,) = database.execute(
                    f"SELECT {column} FROM blocks WHERE height = ?", (height,)
                ).fetchone()
                database.execute(
                    f"UPDATE blocks SET {column} = ? WHERE height = ?", (flipped(value, dice), height)
                )
                reseal(database)
            assert verdicts(home) == (False, False), (height, column)
            home.chain_db.write_bytes(before)


def store_forged(home: Home, block: Block) -> None:
    """Put `block` in the place of the last one, with every seal made to fit."""
    parts = [codec.encode(part) for part in (block.header, block.body, block.commit)]
    with closing(sqlite3.connect(home.chain_db, isolation_level=None)) as database:
        database.execute(
            "UPDATE blocks SET value_id = ?, body_hash = ?, header = ?, body = ?, certificate = ?"
            " WHERE height = ?",
            (block.header.value_id, block.header.body_hash, *parts, HEIGHTS),
        )
        reseal(database)


def certified(header: Header, body: Body, signers: int = 4) -> Block:
    """Return a block that the first `signers` validators have signed, whatever is in it."""
    chain_id = tiny_chain.genesis().chain_id
    votes = [
        tiny_chain.signed(
            Precommit(header.height, 0, header.value_id, index, tiny_chain.BLANK), key, chain_id
        )
        for index, key in enumerate(tiny_chain.KEYS[:signers])
    ]
    signatures = tuple(vote.signature for vote in votes)
    return Block(
        header, body, CommitCert(header.height, 0, header.value_id, bitmap_of(range(signers), 4), signatures)
    )


def both_refuse_the_last_block(home: Home) -> bool:
    ours = {problem.where for problem in audit(home, tiny_chain.genesis()).problems}
    theirs = {problem["where"] for problem in VERIFY.verify(home.path).problems}
    place = f"blocks {HEIGHTS}"
    return place in theirs and any(where.startswith(place) for where in ours)


@pytest.mark.parametrize("field", [field.name for field in msgspec.structs.fields(Header)])
def test_both_refuse_a_header_that_is_wrong_in_one_field_though_all_signed_it(field: str, home: Home) -> None:
    block = tiny_chain.steps(HEIGHTS)[-1].block
    assert block.header.is_empty  # So every root can be known without a merge.
    value = getattr(block.header, field)
    if isinstance(value, int):
        wrong: Any = value + 1
    else:
        wrong = "mean" if isinstance(value, str) else bytes([value[0] ^ 1]) + value[1:] if value else b"x"
    forged = msgspec.structs.replace(block.header, **{field: wrong})
    store_forged(home, certified(forged, block.body))
    if field == "state_root":  # Without executing, it is compared with the ledger that is stored.
        assert verdicts(home) == (False, False)
        assert f"ledgers {HEIGHTS}" in {problem["where"] for problem in VERIFY.verify(home.path).problems}
    else:
        assert both_refuse_the_last_block(home)


def test_both_want_more_than_two_thirds_behind_a_certificate(home: Home) -> None:
    block = tiny_chain.steps(HEIGHTS)[-1].block
    store_forged(home, certified(block.header, block.body, signers=3))
    assert verdicts(home) == (True, True)  # Three of four hold 3/4.
    store_forged(home, certified(block.header, block.body, signers=2))
    assert both_refuse_the_last_block(home)


def forged_body(body: Body, **changes: Any) -> Block:
    """Return the last block with another body, all roots over lists made to fit, signed by everybody."""
    body = msgspec.structs.replace(body, **changes)
    header = msgspec.structs.replace(
        tiny_chain.steps(HEIGHTS)[-1].block.header,
        body_hash=body.hash(),
        avail_root=merkle.root([codec.encode(entry) for entry in body.avails]),
        evidence_root=merkle.root([codec.encode(item) for item in body.evidence]),
        updates_root=merkle.root([codec.encode(update) for update in body.updates]),
        prev_commit_hash=tagged("commit", codec.encode(body.last_commit)) if body.last_commit else bytes(32),
    )
    return certified(header, body)


def test_both_refuse_a_body_that_is_wrong_though_all_signed_it(home: Home) -> None:
    body, before = tiny_chain.steps(HEIGHTS)[-1].block.body, tiny_chain.steps(HEIGHTS - 1)[-1].block
    last = body.last_commit
    assert last is not None
    first = body.avails[0]
    lone = msgspec.structs.replace(last, bitmap=bitmap_of((0, 1), 4), signatures=last.signatures[:2])
    wrong = (
        {"last_commit": None},
        {"last_commit": lone},
        {"last_commit": msgspec.structs.replace(last, signatures=last.signatures[::-1])},
        {"last_commit": tiny_chain.steps(HEIGHTS - 2)[-1].block.commit},
        {"avails": body.avails[:2]},
        {"avails": body.avails[::-1]},
        {"avails": (msgspec.structs.replace(first, signature=tiny_chain.BLANK), *body.avails[1:])},
        {"avails": (msgspec.structs.replace(first, count=1), *body.avails[1:])},
        {"candidates": (bytes(32),)},
        {"updates": before.body.updates},
        {
            "evidence": (
                msgspec.structs.replace(before.body.evidence[0], first=before.body.evidence[0].second),
            )
        },
    )
    for changed in wrong:
        store_forged(home, forged_body(body, **changed))
        assert both_refuse_the_last_block(home), changed
    store_forged(home, forged_body(body))
    assert verdicts(home) == (True, True)


def test_both_agree_on_a_flip_anywhere_in_the_database_file(home: Home) -> None:
    data, dice = home.chain_db.read_bytes(), Random(14)
    for place in (16, 18, 19, 20, 28, 44, 56, 60, 68, 100, *(dice.randrange(len(data)) for _ in range(30))):
        home.chain_db.write_bytes(
            data[:place] + bytes([data[place] ^ 1 << dice.randrange(8)]) + data[place + 1 :]
        )
        ours, theirs = verdicts(home)
        assert ours == theirs, place
        for suffix in ("-wal", "-shm"):
            home.chain_db.with_name(home.chain_db.name + suffix).unlink(missing_ok=True)


def test_both_miss_neither_a_lost_blob_nor_a_lost_block(home: Home) -> None:
    path = next((home.blobs / "sha256").glob("*/*"))
    data = path.read_bytes()
    path.unlink()
    assert verdicts(home) == (False, False)
    path.write_bytes(data)
    with closing(sqlite3.connect(home.chain_db, isolation_level=None)) as database:
        database.execute("DELETE FROM blocks WHERE height = 2")
        reseal(database)
    assert verdicts(home) == (False, False)


def test_damage_ends_with_exit_code_5_and_the_two_values(home: Home) -> None:
    home.vote_state.write_bytes(b"{}")
    done = run(home)
    assert done.returncode == 5
    assert "vote_state.json: shape: expected" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("content", [None, b"", b"[]", b"{}", b'{"name": 5}'])
def test_a_genesis_that_is_none_ends_with_exit_code_3(content: bytes | None, home: Home) -> None:
    home.genesis.unlink()
    if content is not None:
        home.genesis.write_bytes(content)
    done = run(home)
    assert done.returncode == 3
    assert "can't be used" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_log_of_a_killed_peer_is_read_alike(template: Home, tmp_path: Path) -> None:
    home, left = Home(tmp_path / "home"), Home(tmp_path / "killed")
    store = tiny_chain.found(home)
    tiny_chain.keep(store, tiny_chain.steps(1)[0])
    shutil.copytree(home.path, left.path)
    store.close()
    assert verdicts(left) == (True, True)
    log = left.chain_db.with_name("chain.db-wal")
    data, dice = log.read_bytes(), Random(13)
    for place in (0, 8, 16, 20, 24, 32, 40, 44, 48, *(dice.randrange(len(data)) for _ in range(8))):
        log.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        left.chain_db.with_name("chain.db-shm").unlink(missing_ok=True)
        ours, theirs = verdicts(left)
        assert ours == theirs, place


def test_high_s_is_refused_as_by_the_main_implementation() -> None:
    key, digest = tiny_chain.KEYS[0], bytes(range(32))
    low = key.sign(digest)
    high = low[:32] + (ORDER - int.from_bytes(low[32:], "big")).to_bytes(32, "big")
    signatures = VERIFY.Signatures(bytes(32))
    for signature, holds in (
        (low, True),
        (high, False),
        (low[:-1], False),
        (bytes(64), False),
        (b"\xff" * 64, False),
    ):
        assert signatures._holds(key.public, digest, signature) is holds
        assert has_valid_signature(key.public, digest, signature) is holds
    assert not signatures._holds(bytes(33), digest, low)


def test_its_trees_are_those_of_the_main_implementation() -> None:
    for count in range(40):
        leaves = [b"%d" % number for number in range(count)]
        assert VERIFY.merkle(leaves) == merkle.root(leaves)


def test_what_a_peer_prunes_meanwhile_is_not_missing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    genesis, slow = tiny_chain.genesis(), VERIFY.verify_blobs
    with closing(Store(home, genesis)) as store:
        header = store.chain.header(2)
        assert header is not None

        def verify_blobs(*arguments: Any) -> None:
            with store.chain._database.transaction("held"):
                store.chain._set_status((2, "model", header.model_root, "held"), "pruned")
            store.blobs.path(header.model_root).unlink()
            slow(*arguments)

        monkeypatch.setattr(VERIFY, "verify_blobs", verify_blobs)
        with home.lock():
            assert VERIFY.verify(home.path).problems == []
    monkeypatch.undo()
    with closing(Store(home, genesis)) as store:
        header = store.chain.header(3)
        assert header is not None
        store.blobs.path(header.model_root).unlink()
    assert "the blob is missing, not pruned" in [p["what"] for p in VERIFY.verify(home.path).problems]


@pytest.mark.parametrize("table", ["polkas", "pending", "tallies"])
def test_both_notice_a_lost_row_that_nothing_else_names(table: str, home: Home) -> None:
    with closing(sqlite3.connect(home.chain_db, isolation_level=None)) as database:
        database.execute(f"DELETE FROM {table} WHERE rowid = (SELECT min(rowid) FROM {table})")
    assert verdicts(home) == (False, False)


def test_both_compare_a_pending_body_with_its_header(home: Home) -> None:
    other = tiny_chain.steps(1)[0].block.body
    with closing(sqlite3.connect(home.chain_db, isolation_level=None)) as database:
        database.execute("UPDATE pending SET body = ?", (codec.encode(other),))
        reseal(database)
    assert verdicts(home) == (False, False)


def test_both_read_the_log_alike(tmp_path: Path) -> None:
    log, copy = tmp_path / "db-wal", tmp_path / "copy"
    with closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as database:
        database.execute("PRAGMA page_size = 512")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE t (x)")
        data = log.read_bytes()
    VERIFY.verify_log(data)
    last = len(data) - 512 - 24
    for place in (*range(32), *range(last, last + 24), len(data) - 1):
        copy.write_bytes(data[:place] + bytes([data[place] ^ 2]) + data[place + 1 :])
        assert wal_problem(copy) is not None
        with pytest.raises((VERIFY.Damage, KeyError)):
            VERIFY.verify_log(copy.read_bytes())
