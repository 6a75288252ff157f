"""One line an event, fixed key order, greppable: text for a terminal, JSON lines for everything else."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from p2pfed.learning.learner import ACCURACY_LOCAL, ACCURACY_PUBLIC, LOSS_PUBLIC
from p2pfed.runtime.feed import Entry

LOG_FILE_BYTES = 10 << 20
LOG_FILES = 3
SYNC_PAUSE_MS = 5_000  # A peer that is far behind asks for blocks many times a second.
FAULT_PAUSE_MS = 10_000  # A peer that misbehaves without end gets one line in so long.

LEVELS = {"debug": 10, "info": 20, "warning": 30}
# WARN is for what a person should act on; whatever is not here is INFO.
_DEBUG = frozenset({"height.started", "update.made", "update.received", "pledges.ended", "collect.ended",
                    "proposal.built", "model.judged", "dial.failed"})  # fmt: skip
_WARNING = frozenset({"update.refused", "update.skipped", "proposal.refused", "peer.equivocated",
                      "peer.slashed", "peer.jailed",
                      "model.rejected", "peer.blamed", "peer.fault", "peer.lonely",
                      "sync.cut_off",
                      "log.read"})  # fmt: skip
_UNSAFE = re.compile(r"[^\x20-\x7e…·]")


class Stream(Protocol):
    """What a log is written to."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...

    def isatty(self) -> bool: ...


def level_of(entry: Entry) -> int:
    """Return how much an entry matters to the person who reads the log."""
    if entry.event == "round.started":
        return LEVELS["info"] if entry.data["round"] else LEVELS["debug"]
    if entry.event in _DEBUG:
        return LEVELS["debug"]
    return LEVELS["warning"] if entry.event in _WARNING else LEVELS["info"]


def open_log(level: str, form: str, stream: Stream | None = None) -> Callable[[Entry], None]:
    """Return a listener that writes to `stream` (standard error): text on a terminal, else JSON lines."""
    target = stream or sys.stderr
    if form == "auto":
        form = "text" if target.isatty() else "json"
    minimum = LEVELS[level]
    if form == "json":
        return _guarded(minimum, lambda entry: print(json.dumps(entry.as_json()), file=target, flush=True))
    text = TextLog(lambda line: print(line, file=target, flush=True))
    return _guarded(minimum, text)


def open_log_file(path: Path) -> Callable[[Entry], None]:
    """Return a listener that keeps every entry as a JSON line in `path`, rotated at 10 MiB."""
    file = _LogFile(path)
    return lambda entry: file.write(f"{json.dumps(entry.as_json())}\n".encode())


class _LogFile:
    """Lines in `path`; a full file becomes `path.1`, that one `path.2`, up to LOG_FILES.

    A line that the disk refuses is lost: what must be durable says so itself, and ends the peer. The standard
    library's handler asks the system four things before each line, and a block's way is full of lines.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab", buffering=0)
        self._bytes = self._file.seek(0, os.SEEK_END)

    def write(self, line: bytes) -> None:
        with suppress(OSError):
            if self._bytes and self._bytes + len(line) > LOG_FILE_BYTES:
                self._rotate()
            self._bytes += len(line)
            self._file.write(line)

    def _rotate(self) -> None:
        self._file.close()
        names = [self._path, *(self._path.with_name(f"{self._path.name}.{n + 1}") for n in range(LOG_FILES))]
        for older, newer in zip(names[:0:-1], names[-2::-1], strict=True):
            if newer.exists():
                newer.replace(older)
        self._file, self._bytes = self._path.open("ab", buffering=0), 0


class TextLog:
    """Entries as lines. The line of a block waits for the figures of its model."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._blocks: dict[int, Entry] = {}
        self._refused: Counter[int] = Counter()

    def __call__(self, entry: Entry) -> None:
        if entry.event == "block.committed":
            self._blocks[entry.data["height"]] = entry
            return
        if entry.event == "block.evaluated":
            block = self._blocks.pop(entry.data["height"], None)
            if block is not None:
                refused = self._refused.pop(entry.data["height"], 0)
                self._write(_line(block, _block_fields(block.data, entry.data, refused)))
            return
        if entry.event == "update.refused":
            self._refused[entry.data["height"]] += 1
        self._write(_line(entry, _fields(entry)))


def escape(text: str) -> str:
    """Return a peer's text as it may be shown: what could move a terminal's cursor becomes `?`."""
    return _UNSAFE.sub("?", text)


def short(peer: str) -> str:
    """Return the end of a peer id, as logs name peers."""
    return "…" + peer[-4:]


def _guarded(minimum: int, write: Callable[[Entry], None]) -> Callable[[Entry], None]:
    quiet_until: dict[str, int] = {}

    def listener(entry: Entry) -> None:
        if entry.event == "peer.fault":
            peer = entry.data["peer"]
            if entry.time_ms < quiet_until.get(peer, 0):
                return
            quiet_until[peer] = entry.time_ms + FAULT_PAUSE_MS
        if entry.event == "peer.catching_up":
            if entry.time_ms < quiet_until.get(entry.event, 0):
                return
            quiet_until[entry.event] = entry.time_ms + SYNC_PAUSE_MS
        if level_of(entry) >= minimum or entry.event == "block.evaluated":
            write(entry)

    return listener


def _line(entry: Entry, fields: dict[str, object]) -> str:
    clock = time.strftime("%H:%M:%S", time.localtime(entry.time_ms / 1000))
    name = {10: "DEBUG", 20: "INFO", 30: "WARN"}[level_of(entry)]
    pairs = " ".join(f"{key}={escape(str(value))}" for key, value in fields.items())
    return f"{clock} {name:<5} {entry.event:<16} {pairs}".rstrip()


def _block_fields(block: dict[str, Any], figures: dict[str, Any], refused: int) -> dict[str, object]:
    fields: dict[str, object] = {"h": block["height"], "r": block["round"], "hash": block["value_id"][:6]}
    for name in (ACCURACY_PUBLIC, ACCURACY_LOCAL, LOSS_PUBLIC):
        if name in figures:
            fields[name] = f"{figures[name]:.3f}"
    fields["updates"] = f"{block['updates']}/{block['expected']}"
    fields["refused"] = refused
    fields["stake"] = f"{block['signed_power']}/{block['total_power']}"
    if block["caught_up"]:
        fields["caught_up"] = "yes"
    else:
        fields["took"] = f"{block['took_ms'] / 1000:.2f}s"
    return fields


def _fields(entry: Entry) -> dict[str, object]:
    data = entry.data
    match entry.event:
        case "peer.started":
            first = data["p2p"][0] if data["p2p"] else "none"
            address = first.partition("/p2p/")[0]
            return {"id": short(data["id"]), "p2p": address, "http": data["http"], "height": data["height"]}
        case "peer.join_line":
            return {"command": f'"{data["command"]}"'}
        case "peer.joined" | "peer.left":
            return {"peer": short(data["peer"]), "stake": f"{data['connected_power']}/{data['total_power']}"}
        case "peer.equivocated" | "peer.slashed":
            return {"h": data["height"], "from": short(data["culprit"]), "evidence": data["kind"]}
        case "peer.jailed":
            return {"h": data["height"], "from": short(data["validator"])}
        case "validators.changed":
            names = {name: ",".join(map(short, data[name])) for name in ("joined", "left") if data[name]}
            return {"h": data["height"], "from_h": data["from_height"], **names, "stake": data["total_power"]}
        case "update.refused":
            return {"h": data["height"], "from": short(data["trainer"]), "why": data["reason"]}
        case "proposal.refused":
            return {"h": data["height"], "from": short(data["proposer"]), "why": data["reason"]}
    return {
        "h" if key == "height" else key: short(value) if key in ("peer", "proposer", "trainer") else value
        for key, value in data.items()
    }
