"""The bar of a peer that joins: what a terminal shows, and what a file never does."""

from __future__ import annotations

import io
import json
import re

from p2pfed.cli.sync_bar import BLOCKS_MIN, CLEAR, SyncBar
from p2pfed.runtime.feed import Entry
from p2pfed.runtime.logs import open_log

LEFT = Entry(0, "peer.left", {"peer": "16Uiu2HAc8Ls", "connected_power": 3, "total_power": 4})


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def behind(height: int, target: int, time_ms: int = 0) -> Entry:
    return Entry(time_ms, "peer.catching_up", {"height": height, "target": target, "peer": "16Uiu2HAc8Ls"})


def block(height: int, time_ms: int) -> Entry:
    return Entry(time_ms, "block.committed", {"height": height, "caught_up": True})


def fetched(done: int, time_ms: int) -> Entry:
    data = {"height": 40, "done": done, "size": 20_000_000, "part": "model"}
    return Entry(time_ms, "sync.progress", data)


def screen(stream: io.StringIO) -> list[str]:
    """Return the lines that a terminal shows in the end."""
    lines = stream.getvalue().split("\n")
    return [line.rpartition(CLEAR)[2] for line in lines]


def test_heights_are_shown_as_they_come_and_the_bar_goes_when_a_height_is_worked_on() -> None:
    stream = Terminal()
    with SyncBar(stream) as bar:
        bar(behind(100, 300, 1000))
        assert re.fullmatch(r"catching up, height 100 of 300  \[-+\] +0%", screen(stream)[-1])
        bar(block(101, 1001))
        assert "height 100 of" in screen(stream)[-1]  # Ten times a second is enough.
        bar(block(200, 2000))
        assert re.match(r"catching up, height 200 of 300  \[#+-+\] +50%", screen(stream)[-1])
        bar(behind(200, 500, 3000))  # Meanwhile the others made more.
        assert re.match(r"catching up, height 200 of 500  \[#+-+\] +25%", screen(stream)[-1])
        bar(Entry(4000, "height.started", {"height": 501}))
        assert screen(stream) == [""]


def test_bytes_of_a_state_are_shown() -> None:
    stream = Terminal()
    with SyncBar(stream) as bar:
        bar(fetched(5_000_000, 2000))
        assert re.match(r"fetching 5\.0 of 20\.0 MB  \[#+-+\] +25%", screen(stream)[-1])
        bar(fetched(15_000_000, 4000))
        assert re.match(r"fetching 15\.0 of 20\.0 MB  \[#+-+\] +75%", screen(stream)[-1])
        bar(fetched(20_000_000, 4010))
        assert screen(stream) == [""]
        bar(fetched(5_000_000, 6000))
    assert screen(stream) == [""]  # A peer that is stopped meanwhile leaves a clean line.


def test_lines_of_the_log_stand_above_the_bar() -> None:
    stream = Terminal()
    bar = SyncBar(stream)
    log = bar.above(open_log("info", "auto", bar))
    measured = Entry(1001, "block.evaluated", {"height": 1})
    for entry in (LEFT, behind(0, 50, 1000), block(1, 1001), measured, LEFT):
        log(entry)
        bar(entry)
    *lines, last = screen(stream)
    assert [re.sub(r"^\S+ +\S+ +(\S+).*", r"\1", line) for line in lines] == [
        "peer.left",
        "peer.catching_up",
        "peer.left",
    ]
    assert last.startswith("catching up, height 0 of 50  [")


def test_a_few_blocks_need_no_bar() -> None:
    stream = Terminal()
    with SyncBar(stream) as bar:
        bar(behind(7, 7 + BLOCKS_MIN - 1))
        bar(block(8, 1000))
    assert stream.getvalue() == ""


def test_a_file_gets_lines_and_no_bar() -> None:
    stream = io.StringIO()
    with SyncBar(stream) as bar:
        log = bar.above(open_log("info", "json", bar))
        for entry in (behind(0, 50, 1000), fetched(1, 2000), block(1, 3000), fetched(2, 4000)):
            log(entry)
            bar(entry)
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == [
        "peer.catching_up",
        "sync.progress",
        "block.committed",
        "sync.progress",
    ]
    assert "\x1b" not in stream.getvalue()
    assert "\r" not in stream.getvalue()
