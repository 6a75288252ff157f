"""Figures reach the sinks of a peer in order, and no sink can hold the peer up or end it."""

from __future__ import annotations

import builtins
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from p2pfed.errors import LocalError, UsageError
from p2pfed.runtime.feed import Entry
from p2pfed.runtime.tracking import SINKS, WAITING_MAX, Figures, Tracking, make_sink

BLOCK = {"updates": 3, "expected": 4, "round": 0, "took_ms": 120, "signed_power": 30, "total_power": 40}


def pair(height: int, **figures: float) -> list[Entry]:
    return [
        Entry(1000 + height, "block.committed", {"height": height, **BLOCK}),
        Entry(1010 + height, "block.evaluated", {"height": height, **figures}),
    ]


class Memory:
    """A sink that keeps what it gets; it breaks at the height `breaks_at`, and waits at `waits_at`."""

    def __init__(self, breaks_at: int = -1, waits_at: int = -1) -> None:
        self.rows: list[tuple[int, int, Figures]] = []
        self.is_closed = False
        self.reached, self.go_on = threading.Event(), threading.Event()
        self._breaks_at, self._waits_at = breaks_at, waits_at

    def height(self, height: int, time_ms: int, figures: Figures) -> None:
        if height == self._waits_at:
            self.reached.set()
            self.go_on.wait()
        if height == self._breaks_at:
            raise ValueError("no more room")
        self.rows.append((height, time_ms, figures))

    def close(self) -> None:
        self.is_closed = True


def test_each_height_comes_with_what_its_block_says() -> None:
    memory = Memory()
    tracking = Tracking({"memory": memory}, pytest.fail)
    for entry in [*pair(1, loss=0.5), Entry(1, "update.refused", {}), *pair(2, loss=0.25)]:
        tracking.listen(entry)
    tracking.listen(Entry(1013, "block.evaluated", {"height": 3, "loss": 0.125}))  # Another block came first.
    tracking.close()
    assert [row[:2] for row in memory.rows] == [(1, 1011), (2, 1012), (3, 1013)]
    assert memory.rows[0][2] == {"loss": 0.5, **BLOCK}
    assert memory.rows[2][2] == {"loss": 0.125}
    assert memory.is_closed


def test_a_sink_that_fails_is_told_of_once_and_the_others_go_on() -> None:
    told: list[str] = []
    good, bad = Memory(), Memory(breaks_at=2)
    tracking = Tracking({"bad": bad, "good": good}, told.append)
    for height in (1, 2, 3):
        for entry in pair(height):
            tracking.listen(entry)
    tracking.close()
    assert told == ["bad gets no figures any more: ValueError: no more room"]
    assert [row[0] for row in bad.rows] == [1]
    assert [row[0] for row in good.rows] == [1, 2, 3]


def test_a_sink_that_hangs_delays_nobody_and_loses_the_oldest() -> None:
    slow = Memory(waits_at=0)
    tracking = Tracking({"slow": slow}, pytest.fail)
    tracking.listen(Entry(0, "block.evaluated", {"height": 0}))
    assert slow.reached.wait(60)
    for height in range(1, WAITING_MAX + 11):
        tracking.listen(Entry(0, "block.evaluated", {"height": height}))
    slow.go_on.set()
    tracking.close()
    assert [row[0] for row in slow.rows] == [0, *range(11, WAITING_MAX + 11)]


def test_lines_are_appended(tmp_path: Path) -> None:
    path = tmp_path / "figures.jsonl"
    for height in (1, 2):
        sink = make_sink(f"jsonl:{path}")
        sink.height(height, 5, {"acc(public)": 0.5})
        sink.close()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows == [
        {"schema": "p2pfed.figures/1", "height": height, "time_ms": 5, "acc(public)": 0.5}
        for height in (1, 2)
    ]


@pytest.mark.parametrize("spelled", ["jsonl", "jsonl:", "csv:a", ""])
def test_what_is_no_sink_is_refused_with_those_there_are(spelled: str) -> None:
    with pytest.raises(UsageError, match="jsonl, tensorboard, mlflow"):
        make_sink(spelled)


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="No such file"):
        make_sink(f"jsonl:{tmp_path}/nowhere/figures.jsonl")


@pytest.mark.parametrize("kind", sorted(set(SINKS) - {"jsonl"}))
def test_a_missing_library_names_the_command(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *arguments: Any, **more: Any) -> Any:
        if name.partition(".")[0] in ("tensorboardX", "mlflow"):
            raise ImportError(name)
        return real(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(LocalError, match=rf"pip install 'p2pfed\[{kind}\]'"):
        make_sink(f"{kind}:somewhere")
