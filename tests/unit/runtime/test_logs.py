from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from p2pfed.runtime import logs
from p2pfed.runtime.feed import Entry
from p2pfed.runtime.logs import FAULT_PAUSE_MS, SYNC_PAUSE_MS, escape, open_log, open_log_file

COMMITTED = Entry(0, "block.committed", {
    "height": 3, "round": 1, "value_id": "8c1e44ff", "updates": 5, "expected": 7, "signed_power": 90,
    "total_power": 100, "took_ms": 310, "caught_up": False,
})  # fmt: skip
EVALUATED = Entry(0, "block.evaluated", {"height": 3, "acc(public)": 0.839, "loss": 0.611})
FAULT = {"peer": "16Uiu2HAc8Ls", "reason": "not canonical"}


def written(form: str, *entries: Entry, level: str = "info") -> list[str]:
    stream = io.StringIO()
    listener = open_log(level, form, stream)
    for entry in entries:
        listener(entry)
    return stream.getvalue().splitlines()


def test_the_line_of_a_block_waits_for_its_figures() -> None:
    assert written("text", COMMITTED) == []
    (line,) = written("text", COMMITTED, EVALUATED)
    assert line[8:] == (
        " INFO  block.committed  h=3 r=1 hash=8c1e44 acc(public)=0.839 loss=0.611 updates=5/7 refused=0"
        " stake=90/100 took=0.31s"
    )


def test_refused_updates_are_warned_of_and_counted_in_the_line_of_their_block() -> None:
    refused = Entry(0, "update.refused", {"height": 3, "trainer": "16Uiu2HAc8Ls", "reason": "norm"})
    warning, line = written("text", refused, COMMITTED, EVALUATED)
    assert "WARN  update.refused   h=3 from=…c8Ls why=norm" in warning
    assert "refused=1" in line


def test_where_it_is_no_terminal_the_log_is_json_lines() -> None:
    (line,) = written("auto", COMMITTED)
    assert json.loads(line) == COMMITTED.as_json()


def test_a_level_leaves_out_what_is_below_it() -> None:
    quiet = Entry(0, "height.started", {"height": 3, "validators": 4, "expected_updates": 4})
    first = Entry(0, "round.started", {"height": 3, "round": 0, "proposer": "x"})
    later = Entry(0, "round.started", {"height": 3, "round": 1, "proposer": "x"})
    assert len(written("json", quiet, first, later)) == 1
    assert len(written("json", quiet, first, later, level="debug")) == 3
    assert written("json", later, level="warning") == []


def test_how_far_blocks_are_is_a_line_every_few_seconds() -> None:
    heights = [
        Entry(ms, "peer.catching_up", {"height": ms, "target": 99_999, "peer": "x"})
        for ms in range(0, 3 * SYNC_PAUSE_MS, 100)
    ]
    told = [json.loads(line)["height"] for line in written("json", *heights)]
    assert told == [0, SYNC_PAUSE_MS, 2 * SYNC_PAUSE_MS]


def test_a_peer_that_misbehaves_without_end_does_not_fill_the_log() -> None:
    faults = [Entry(ms, "peer.fault", FAULT) for ms in (0, 1, FAULT_PAUSE_MS - 1, FAULT_PAUSE_MS)]
    other = Entry(1, "peer.fault", {**FAULT, "peer": "somebody else"})
    assert len(written("json", *faults, other)) == 3


def test_what_a_peer_says_moves_no_cursor() -> None:
    assert escape("a\x1b[2Jb\r\nc\u202e") == "a?[2Jb??c?"
    (line,) = written("text", Entry(0, "peer.fault", {**FAULT, "reason": "\x1b]0;owned\x07"}))
    assert "\x1b" not in line


def test_the_file_keeps_every_entry(tmp_path: Path) -> None:
    listener = open_log_file(tmp_path / "peer.log")
    faults = [Entry(ms, "peer.fault", FAULT) for ms in range(3)]
    for entry in faults:
        listener(entry)
    lines = (tmp_path / "peer.log").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [entry.as_json() for entry in faults]


def test_a_full_file_makes_room_and_the_oldest_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(json.dumps(COMMITTED.as_json())) + 1
    monkeypatch.setattr(logs, "LOG_FILE_BYTES", 2 * size)
    open_log_file(tmp_path / "peer.log")(COMMITTED)  # An earlier run's.
    listener = open_log_file(tmp_path / "peer.log")
    for _ in range(9):
        listener(COMMITTED)
    sizes = {path.name: path.stat().st_size // size for path in tmp_path.iterdir()}
    assert sizes == {"peer.log": 2, "peer.log.1": 2, "peer.log.2": 2, "peer.log.3": 2}


def test_a_full_disk_loses_a_line_without_a_word_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    open_log_file(Path("/dev/full"))(COMMITTED)
    assert capsys.readouterr().err == ""
