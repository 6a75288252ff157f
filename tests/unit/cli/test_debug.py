"""`debug dump` and `repair` on a home that no peer runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import tiny_chain
from support.pages import json_keys

from p2pfed.cli import main as program
from p2pfed.consensus.io import CollectEnded, TimeoutFired
from p2pfed.consensus.journal import Began, Ended
from p2pfed.consensus.journal_text import describe
from p2pfed.consensus.signer import initial_record
from p2pfed.primitives import codec
from p2pfed.storage.home import Home
from p2pfed.storage.log import Log
from p2pfed.storage.log_files import FolderFiles
from p2pfed.storage.vote_state import VoteStateFile


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Two blocks, a record, and a log that was synced three times."""
    made = Home(tmp_path / "home")
    tiny_chain.make_home(made, 2)
    VoteStateFile(made.vote_state).save(codec.encode(initial_record()))
    files = FolderFiles(made.wal)
    log = Log(files, tiny_chain.genesis().chain_id)
    log.open()
    for entry in (Began(3, 0, None), CollectEnded(), TimeoutFired("propose", 0)):
        log.append(entry)
        log.sync()
    files.close()
    return made


def called(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        program.main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


def files_of(home: Home) -> dict[Path, bytes]:
    """Return every file but those by which SQLite's readers see each other."""
    found = (path for path in home.path.rglob("*") if path.is_file() and "db-" not in path.name)
    return {path: path.read_bytes() for path in found}


def damage(home: Home) -> Path:
    """Flip a bit behind the beginning of the log's first entry."""
    path = home.wal / "00000001.log"
    data = bytearray(path.read_bytes())
    data[data.index(b"began") + 7] ^= 1
    path.write_bytes(data)
    return path


def test_a_dump_tells_blocks_record_and_log_and_changes_nothing(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_of(home)
    code, out, err = called(capsys, "debug", "dump", "--home", home.path)
    assert (code, err) == (0, "")
    for line in ("height      2", "vote state  no vote yet", "log         3 entries in 1 files"):
        assert line in out
    assert describe(TimeoutFired("propose", 0)) in out
    code, out, _ = called(capsys, "debug", "dump", "--home", home.path, "--json", "--entries", 1)
    row = json.loads(out)
    parts = (row, row["log"], row["vote_state"], row["blocks"][0], row["log"]["newest"][0])
    assert set().union(*parts) == json_keys("p2pfed.dump/1")
    assert [entry["text"] for entry in row["log"]["newest"]] == ["the propose timer of round 0 ran out"]
    assert [block["height"] for block in row["blocks"]] == [1, 2]
    secret = home.key.read_text().split('"secret": "')[1][:64]
    assert secret not in out
    assert files_of(home) == before


def test_a_dump_names_what_is_broken_and_goes_on(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    damage(home)
    home.vote_state.unlink()
    code, out, _ = called(capsys, "debug", "dump", "--home", home.path, "--json")
    row = json.loads(out)
    assert code == 0
    assert "is damaged at byte" in row["log"]["problem"]
    assert "is missing" in row["vote_state"]["problem"]


def test_repair_cuts_at_the_damage_and_says_what_went_and_where_the_peer_goes_on(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    path = damage(home)
    code, out, err = called(capsys, "repair", "--home", home.path)
    assert (code, err) == (0, "")
    assert "4 whole entries among them; the peer goes on from its vote state: no vote yet" in out
    assert b"began" not in path.read_bytes()
    assert called(capsys, "repair", "--home", home.path)[1] == "the log is whole: nothing was changed\n"
    code, out, _ = called(capsys, "repair", "--home", home.path, "--forget-log", "--json")
    assert set(json.loads(out)) == json_keys("p2pfed.repair/1")
    assert list(home.wal.iterdir()) == []


def test_verify_reports_a_damaged_log(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(capsys, "verify", "--home", home.path)[0] == 0
    damage(home)
    code, out, _ = called(capsys, "verify", "--home", home.path)
    assert code == 5
    assert "the write-ahead log" in out


def test_repair_does_nothing_without_a_vote_state_or_beside_a_running_peer(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    data = damage(home).read_bytes()
    with home.lock():
        code, _, err = called(capsys, "repair", "--home", home.path)
    assert (code, "already runs the peer" in err) == (3, True)
    home.vote_state.unlink()
    code, _, err = called(capsys, "repair", "--home", home.path)
    assert (code, "is missing beside" in err) == (3, True)
    assert (home.wal / "00000001.log").read_bytes() == data


def test_every_kind_of_entry_has_a_line_of_its_own() -> None:
    assert describe(Began(5, None, None)) == "height 5 begins, as an observer"
    assert describe(Ended(5)) == "height 5 is stored"
