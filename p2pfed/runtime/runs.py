"""Read what a run left behind: a peer's home, a folder of a demo or a testnet, or a file of JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from p2pfed.chain.form import payload_form
from p2pfed.errors import LocalError
from p2pfed.runtime.peer import read_genesis
from p2pfed.runtime.testnet import load_testnet
from p2pfed.storage.home import Home
from p2pfed.types.genesis import Genesis
from p2pfed.types.params import OUTER_ONE

HEIGHTS_MAX = 20_000  # The newest: a page of more is not read by anybody.
LINE_BYTES_MAX = 1 << 20
_KNOWN = ("schema", "time_ms", "event", "height", "peer_name")


class Turn(Struct):
    """One height as the run's peer saw it; None where the file doesn't say."""

    height: int
    time_ms: int
    round: int | None = None
    updates: int | None = None
    expected: int | None = None
    figures: dict[str, float] = {}


class Note(Struct, frozen=True):
    """Something to be told of a height: a refused update, a conviction."""

    height: int
    kind: str
    text: str


class Run(Struct, frozen=True):
    """A run: its name, what its founder chose, its heights ascending, and what happened."""

    name: str
    settings: dict[str, str]
    turns: tuple[Turn, ...]
    notes: tuple[Note, ...]
    checks: tuple[tuple[str, bool, str], ...] = ()

    @property
    def seconds(self) -> float:
        """From the first height to the last."""
        return (self.turns[-1].time_ms - self.turns[0].time_ms) / 1000 if self.turns else 0.0

    def curve(self, figure: str) -> list[tuple[int, float]]:
        """Return height and value wherever the figure was measured."""
        return [(turn.height, turn.figures[figure]) for turn in self.turns if figure in turn.figures]

    @property
    def figures(self) -> list[str]:
        """The names of what was measured, in the order of their first appearance."""
        return list(dict.fromkeys(name for turn in self.turns for name in turn.figures))


def read_run(path: Path) -> Run:
    """Return the run at `path`.

    Raises:
        LocalError: There is nothing of that kind, or a line is not JSON; says where.
    """
    if path.is_file():
        return _run(path.stem, {}, _lines([path]))
    if (path / "testnet.json").is_file():
        peers = load_testnet(path).peers
        honest = next((peer.name for peer in peers if not peer.byzantine), peers[0].name)
        liars = ", ".join(sorted({peer.byzantine for peer in peers if peer.byzantine}))
        run = _home(path.name, path / honest)
        settings = {**run.settings, "liars": liars or "none"}
        return Run(run.name, settings, run.turns, run.notes, _checks(path / "verdict.json"))
    if (path / "config.toml").is_file():
        return _home(path.name, path)
    raise LocalError(
        f"{path} is no run: name a peer's home, the folder of a demo or a testnet, or a file of "
        "`run --track jsonl:FILE`"
    )


def _home(name: str, folder: Path) -> Run:
    home = Home(folder)
    logs = sorted(
        home.logs.glob("peer.log*"),
        key=lambda path: -int(path.suffix[1:]) if path.suffix[1:].isdigit() else 0,
    )
    if not logs:
        raise LocalError(f"{home.logs} holds no log: this peer has not run yet")
    return _run(name, _settings(read_genesis(home)), _lines(logs))


def _settings(genesis: Genesis) -> dict[str, str]:
    params = genesis.params
    momentum, rate = params.outer_momentum / OUTER_ONE, params.outer_rate / OUTER_ONE
    return {
        "members": str(len(genesis.participants)),
        "parameters": str(genesis.manifest.size),
        "rules": ", ".join(params.rules),
        "outer": f"{momentum:.3g},{rate:.3g}" if params.outer_momentum else "off",
        "codec": params.codec,
        "bytes of an update": str(payload_form(genesis).length),
        "timeouts": params.preset,
        "transport": genesis.transport,
        "chain": genesis.chain_id.hex()[:12],
    }


def _run(name: str, settings: dict[str, str], entries: Iterator[dict[str, Any]]) -> Run:
    turns: dict[int, Turn] = {}
    notes: dict[Note, None] = {}
    speaker: object = None  # Of a demo's events, where all peers stand in one file, the first is heard.
    for entry in entries:
        kind, height = str(entry.get("event", "figures")), entry.get("height")
        speaker = speaker or entry.get("peer_name")
        if not isinstance(height, int) or entry.get("peer_name") != speaker:
            continue
        if kind == "block.committed":
            turn = turns.setdefault(height, Turn(height, entry["time_ms"]))
            turn.round, turn.updates = _count(entry, "round"), _count(entry, "updates")
            turn.expected = _count(entry, "expected")
        elif kind in ("block.evaluated", "figures"):
            turn = turns.setdefault(height, Turn(height, entry["time_ms"]))
            turn.figures = {
                key: float(value)
                for key, value in entry.items()
                if key not in _KNOWN and isinstance(value, int | float)
            }
        elif kind == "update.refused":
            notes[
                Note(height, "update refused", f"{_short(entry.get('trainer'))}: {entry.get('reason')}")
            ] = None
        elif kind == "peer.slashed":
            notes[Note(height, "convicted", f"{_short(entry.get('culprit'))}: {entry.get('kind')}")] = None
    newest = sorted(turns)[-HEIGHTS_MAX:]
    return Run(name, settings, tuple(turns[height] for height in newest), tuple(notes))


def _lines(paths: list[Path]) -> Iterator[dict[str, Any]]:
    for path in paths:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(LINE_BYTES_MAX), b""), start=1):
                if not line.endswith(b"\n"):
                    continue  # A run that is still writing, or was killed while it did.
                try:
                    entry = json.loads(line[max(0, line.find(b"{")) :])
                except ValueError:
                    raise LocalError(f"line {number} of {path} is no JSON object") from None
                if isinstance(entry, dict) and isinstance(entry.get("time_ms"), int):
                    yield entry


def _checks(path: Path) -> tuple[tuple[str, bool, str], ...]:
    if not path.is_file():
        return ()
    try:
        checks = json.loads(path.read_bytes())["checks"]
        return tuple((str(check["name"]), bool(check["is_held"]), str(check["detail"])) for check in checks)
    except (ValueError, KeyError, TypeError):
        raise LocalError(f"{path} is no verdict of a demo: move it away to see the run without it") from None


def _count(entry: dict[str, Any], name: str) -> int | None:
    value = entry.get(name)
    return value if isinstance(value, int) else None


def _short(peer: object) -> str:
    text = str(peer)
    return text[-8:] if len(text) > 40 else text
