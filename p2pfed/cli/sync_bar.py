"""The bar of a peer that joins or is behind: below the lines of its log, on a terminal alone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, TextIO

import click

from p2pfed.runtime.feed import Entry

BLOCKS_MIN = 10  # A peer that is a few blocks behind is there before a bar can be read.
DRAW_MS = 100
MEGABYTE = 1e6
CLEAR = "\r\x1b[2K"


class SyncBar:
    """A stream for the log, and a listener that draws a bar in its last line while something is fetched.

    Bytes of a model or state, or heights of blocks. Not on a terminal it writes what it is given.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._is_terminal = self._stream.isatty()
        self._bar: Any = None  # click's, whose class has no public name.
        self._key: object = None  # What the bar is of.
        self._first = 0  # The height or byte that it began at.
        self._target = 0
        self._drawn_ms = 0
        self._line = ""
        self._is_inside = False

    def __enter__(self) -> SyncBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    # A stream

    def isatty(self) -> bool:
        return self._is_terminal

    def write(self, text: str) -> int:
        """Write text above the bar."""
        if self._line and not self._is_inside:
            self._stream.write(CLEAR)
        self._stream.write(text)
        self._is_inside = not text.endswith("\n")  # `print` writes a line and its end one after the other.
        if self._line and not self._is_inside:
            self._stream.write(self._line)
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    # A listener

    def above(self, log: Callable[[Entry], None]) -> Callable[[Entry], None]:
        """Return `log` without the blocks that the bar stands for; the file of the log has them."""

        def listener(entry: Entry) -> None:
            if self._key != "blocks" or entry.event != "block.committed" or not entry.data["caught_up"]:
                log(entry)

        return listener

    def __call__(self, entry: Entry) -> None:
        """Draw what `entry` says of a fetch."""
        if not self._is_terminal:
            return
        data = entry.data
        match entry.event:
            case "sync.progress":
                size, done = data["size"], data["done"]
                label = f"fetching {done / MEGABYTE:.1f} of {size / MEGABYTE:.1f} MB"
                self._show(("bytes", data["height"]), 0, done, size, label, entry.time_ms)
                if done >= size:
                    self._end()
            case "peer.catching_up" if self._key == "blocks" or data["target"] - data["height"] >= BLOCKS_MIN:
                self._target = data["target"]
                self._step(data["height"], entry.time_ms)
            case "block.committed" if data["caught_up"] and self._key == "blocks":
                self._step(data["height"], entry.time_ms)
            case "sync.finished" | "height.started" | "network.finished":
                self._end()

    def _step(self, height: int, time_ms: int) -> None:
        label = f"catching up, height {height} of {self._target}"
        self._show("blocks", height, height, self._target, label, time_ms)

    def _show(self, key: object, first: int, done: int, whole: int, label: str, time_ms: int) -> None:
        if self._key != key:
            self._end()
            self._key, self._first, self._drawn_ms = key, first, 0
            self._bar = click.progressbar(length=1, file=self._stream)
        self._bar.length = max(1, whole - self._first)
        self._bar.label = label
        self._bar.make_step(done - self._first - self._bar.pos)
        if time_ms - self._drawn_ms >= DRAW_MS:
            self._drawn_ms = time_ms
            self._line = self._bar.format_progress_line()
            self._stream.write(CLEAR + self._line)
            self._stream.flush()

    def _end(self) -> None:
        if self._line:
            self._stream.write(CLEAR)
            self._stream.flush()
        self._bar, self._key, self._line = None, None, ""
