"""`p2pfed watch`: follow a peer live, or until a target is reached."""

from __future__ import annotations

import json
import operator
import re
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPException
from typing import Any

import click
from msgspec import Struct

from p2pfed.cli.options import home_option, json_option
from p2pfed.cli.reading import api_address, ask
from p2pfed.cli.watch_view import View, drawn, is_wanted
from p2pfed.errors import LocalError, TargetMissedError, UsageError
from p2pfed.learning.learner import ACCURACY_PUBLIC, LOSS_PUBLIC
from p2pfed.runtime.feed import Entry
from p2pfed.runtime.logs import TextLog
from p2pfed.storage.home import Home

_TARGET = re.compile(r"(accuracy|loss|height)\s*(>=|<=|>|<)\s*([0-9]*\.?[0-9]+)")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
_FIGURES = {"accuracy": ACCURACY_PUBLIC, "loss": LOSS_PUBLIC, "height": "height"}
SHOWN = frozenset({"block.committed", "block.evaluated", "update.refused", "proposal.refused", "peer.slashed",
                   "peer.equivocated", "peer.joined", "peer.left", "network.finished", "peer.jailed",
                   "validators.changed"})  # fmt: skip


class Target(Struct, frozen=True):
    """What `--until` asks for: a figure, a comparison and a number."""

    figure: str
    sign: str
    number: float

    def is_met_by(self, data: dict[str, Any]) -> bool:
        value = data.get(_FIGURES[self.figure])
        return value is not None and _COMPARE[self.sign](value, self.number)


def parse_target(text: str) -> Target:
    """Return the target that `accuracy>=0.9` spells; raises UsageError."""
    match = _TARGET.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"--until takes accuracy>=0.9, loss<0.2 or height>=20, not {text!r}")
    return Target(match[1], match[2], float(match[3]))


@click.command()
@home_option
@json_option
@click.option("--until", "until", help="Stop at a target: accuracy>=0.9, loss<0.2, height>=20.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(0), help="Give up after so many seconds.")
@click.option("--plain", is_flag=True, help="Lines instead of the picture, as where it is no terminal.")
def watch(home: Home, as_json: bool, until: str | None, timeout_s: float | None, plain: bool) -> None:
    """Follow a running peer: curves and peers on a terminal, a line a block elsewhere.

    Exit code 6 where the target is missed.
    """
    target = parse_target(until) if until else None
    address = api_address(home)
    if address is None:
        raise LocalError(f"no peer with an HTTP API runs in {home.path}; start it with `p2pfed run`")
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    rows = _events(address, deadline)
    if is_wanted(is_plain=plain or as_json):
        view = View("{}:{}".format(*address), until or "")
        view.remember(ask(home, "/v1/history") or {})
        with drawn(view):
            best = _follow(rows, target, lambda row: view.take(_entry(row)))
    elif as_json:
        best = _follow(
            rows, target, lambda row: click.echo(json.dumps(row)) if row["event"] in SHOWN else None
        )
    else:
        text = TextLog(click.echo)
        best = _follow(rows, target, lambda row: text(_entry(row)) if row["event"] in SHOWN else None)
    if target is not None and not target.is_met_by(best):
        value = best.get(_FIGURES[target.figure], "nothing")
        raise TargetMissedError(f"{until} was not reached; the last value is {value}")


def _follow(
    rows: Iterator[dict[str, Any]], target: Target | None, show: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Show each event until the target is met or they end; return the last figures."""
    last: dict[str, Any] = {}
    for row in rows:
        show(row)
        if row["event"] == "block.evaluated":
            last = row
            if target is not None and target.is_met_by(row):
                break
    return last


def _entry(row: dict[str, Any]) -> Entry:
    data = {key: value for key, value in row.items() if key not in ("schema", "time_ms", "event")}
    return Entry(row["time_ms"], row["event"], data)


def _events(address: tuple[str, int], deadline: float | None) -> Iterator[dict[str, Any]]:
    """Yield the peer's events, the history first, until it ends or the deadline passes."""
    connection = HTTPConnection(*address, timeout=None if deadline is None else _left(deadline))
    try:
        connection.request("GET", "/v1/events")
        response = connection.getresponse()
        if response.status != 200:
            raise LocalError(f"the peer refuses: {response.read(200).decode(errors='replace').strip()}")
        while deadline is None or time.monotonic() < deadline:
            if deadline is not None and connection.sock is not None:
                connection.sock.settimeout(_left(deadline))
            line = response.readline()
            if not line:
                return
            if line.startswith(b"data: "):
                yield json.loads(line[6:])
    except TimeoutError:
        return
    except (OSError, HTTPException) as error:
        raise LocalError(f"the peer at {address[0]}:{address[1]} does not answer: {error}") from None
    finally:
        connection.close()


def _left(deadline: float) -> float:
    return max(0.01, deadline - time.monotonic())
