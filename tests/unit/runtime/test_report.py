"""Runs that are read from disk, and the page that compares them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from p2pfed.errors import LocalError
from p2pfed.runtime import report_page
from p2pfed.runtime.report_page import report_html, summary
from p2pfed.runtime.runs import Note, Run, Turn, read_run

HOSTILE = "<script>alert(1)</script>"


def line(event: str, time_ms: int, **data: Any) -> str:
    return json.dumps({"schema": "p2pfed.event/1", "time_ms": time_ms, "event": event, **data})


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{text}\n" for text in lines))
    return path


def committed(height: int, time_ms: int, round_: int = 0, updates: int = 3) -> str:
    return line("block.committed", time_ms, height=height, round=round_, updates=updates, expected=4)


def test_a_log_gives_heights_figures_and_what_happened(tmp_path: Path) -> None:
    path = write(
        tmp_path / "run.jsonl",
        line("peer.joined", 5, peer="x"),
        committed(1, 1_000),
        line("block.evaluated", 1_100, height=1, **{"acc(public)": 0.5}),
        line("update.refused", 1_500, height=2, trainer="a" * 50, reason="NaN"),
        line("update.refused", 1_600, height=2, trainer="a" * 50, reason="NaN"),
        line("peer.slashed", 1_700, height=2, culprit="liar", kind="vote"),
        committed(2, 3_000, round_=1, updates=4),
        line("block.evaluated", 3_100, height=2, **{"acc(public)": 0.75, "note": "text"}),
    )
    run = read_run(path)
    assert [(turn.height, turn.round, turn.updates) for turn in run.turns] == [(1, 0, 3), (2, 1, 4)]
    assert run.curve("acc(public)") == [(1, 0.5), (2, 0.75)]
    assert run.notes == (Note(2, "update refused", "aaaaaaaa: NaN"), Note(2, "convicted", "liar: vote"))
    row = summary(run)
    assert (row["seconds"], row["updates"], row["expected"], row["later_rounds"]) == (2.0, 7, 8, 1)
    assert (row["figures"], row["refused"], row["convicted"]) == ({"acc(public)": 0.75}, 1, 1)


def test_tracked_figures_are_a_run_and_a_line_that_is_not_whole_is_left_out(tmp_path: Path) -> None:
    row = {"schema": "p2pfed.figures/1", "height": 3, "time_ms": 7, "loss": 0.25}
    path = write(tmp_path / "track.jsonl", json.dumps(row))
    with path.open("a") as file:
        file.write('{"schema": "p2pfed.fig')
    (turn,) = read_run(path).turns
    assert (turn.height, turn.figures, turn.updates) == (3, {"loss": 0.25}, None)


def test_of_a_file_with_many_peers_the_first_is_heard_and_a_foreign_entry_ends_nothing(
    tmp_path: Path,
) -> None:
    path = write(
        tmp_path / "events.jsonl",
        line("block.evaluated", 1, height=1, peer_name="peer0", loss=0.5),
        line("block.evaluated", 2, height=1, peer_name="peer1", loss=9.0),
        line("block.committed", 3, height=1, peer_name="peer0", round="x"),
        line("update.refused", 4, height=1, peer_name="peer0"),
    )
    run = read_run(path)
    assert run.curve("loss") == [(1, 0.5)]
    assert (run.turns[0].round, len(run.notes)) == (None, 1)


def test_what_is_no_run_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="is no run"):
        read_run(tmp_path)
    with pytest.raises(LocalError, match=r"line 2 of .*wrong is no JSON object"):
        read_run(write(tmp_path / "wrong", committed(1, 1), "{nonsense"))


def run_of(name: str, settings: dict[str, str], *values: float) -> Run:
    turns = tuple(
        Turn(height, 1_000 * height, 0, 4, 4, {"acc(public)": value})
        for height, value in enumerate(values, start=1)
    )
    return Run(name, settings, turns, ())


def test_the_page_is_whole_escaped_and_marks_the_settings_that_differ() -> None:
    first = run_of("one", {"rules": "median", "codec": "int16"}, 0.1, 0.2)
    second = Run(
        HOSTILE, {"rules": HOSTILE, "codec": "int16"}, (), (Note(1, "update refused", HOSTILE),),
        checks=(("no fork", False, HOSTILE),),
    )  # fmt: skip
    page = report_html([first, second])
    assert HOSTILE not in page
    assert page.count("&lt;script&gt;") >= 5
    assert "<tr class=differs><th scope=row>rules</th><td>median</td>" in page
    assert "<tr><th scope=row>codec</th>" in page
    assert "default-src 'none'" in page
    assert "<td>1 to 2</td><td>none</td>" in page
    assert "<td>8 of 8</td><td>–</td>" in page
    assert "<span class=bad>✗</span> no fork" in page


def test_a_chart_draws_at_most_so_many_points_and_always_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_page, "POINTS_MAX", 10)
    page = report_html([run_of("long", {}, *(0.0 for _ in range(99)), 1.0), run_of("flat", {}, 0.5)])
    picture = ElementTree.fromstring(page[page.index("<svg") : page.index("</svg>") + 6])
    long, flat = [curve.attrib["points"].split() for curve in picture.iter("polyline")]
    assert 10 <= len(long) <= 13
    assert long[-1] == f"{report_page.WIDTH - report_page.RIGHT:.1f},{report_page.TOP:.1f}"
    assert len(flat) == 1


def test_many_notes_are_cut_and_counted() -> None:
    notes = tuple(Note(height, "update refused", "late") for height in range(report_page.NOTES_MAX + 7))
    assert "and 7 more" in report_html([Run("busy", {}, (), notes)])
