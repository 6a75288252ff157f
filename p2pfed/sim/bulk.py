"""A simulated peer's pulls: one holder after the other, until a blob comes or its height has passed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

from msgspec import Struct

REQUEST_TIMEOUT_MS = 2_000  # Shorter than in production, so that a lost request costs less of a short run.
RETRY_FIRST_MS = 100
RETRY_MAX_MS = 2_000

Done = Callable[[bytes], None]


class Line(Protocol):
    """What a pull needs of its peer."""

    def later(self, delay_ms: int, action: Callable[[], None]) -> None: ...

    def blob(self, root: bytes) -> bytes | None: ...

    def keep(self, root: bytes, data: bytes) -> None: ...

    def is_connected(self, peer: bytes) -> bool: ...

    def connected(self) -> tuple[bytes, ...]: ...

    def request_blob(self, peer: bytes, root: bytes, answer: Callable[[bytes | None], None]) -> None:
        """Ask `peer` and call `answer` with bytes of this root, None where none came."""


class _Pull(Struct):
    root: bytes
    holders: dict[bytes, None]
    height: int  # Once this height is final, nobody needs the blob.
    done: Done
    wait_ms: int = RETRY_FIRST_MS


class Pulls:
    """All pulls of one life of a peer."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._pulls: dict[bytes, _Pull] = {}

    def want(self, name: bytes, root: bytes, holders: Iterable[bytes], height: int, done: Done) -> None:
        """Start a pull under `name`, or tell the one under way of more holders; then call `done` once."""
        known = self._pulls.get(name)
        if known is not None:
            known.holders.update(dict.fromkeys(holders))
            return
        pull = self._pulls[name] = _Pull(root, dict.fromkeys(holders), height, done)
        self._line.later(0, partial(self._round, name, pull))

    def passed(self, height: int) -> None:
        """Give up what only the blocks up to `height` needed."""
        for name, pull in list(self._pulls.items()):
            if pull.height <= height:
                del self._pulls[name]

    def _round(self, name: bytes, pull: _Pull) -> None:
        order = [peer for peer in pull.holders if self._line.is_connected(peer)]
        self._ask(name, pull, order, frozenset(order))

    def _ask(self, name: bytes, pull: _Pull, order: list[bytes], tried: frozenset[bytes]) -> None:
        """Ask the first of `order`; after the holders everybody else with a pipe, who may have it by now."""
        if self._pulls.get(name) is not pull:
            return
        data = self._line.blob(pull.root)
        if data is not None:
            del self._pulls[name]
            pull.done(data)
            return
        others = [] if order else [peer for peer in self._line.connected() if peer not in tried]
        order, tried = order or others, tried.union(others)
        if order:
            answered = partial(self._answered, name, pull, order[1:], tried)
            self._line.request_blob(order[0], pull.root, answered)
        else:
            wait_ms, pull.wait_ms = pull.wait_ms, min(RETRY_MAX_MS, 2 * pull.wait_ms)
            self._line.later(wait_ms, partial(self._round, name, pull))

    def _answered(
        self, name: bytes, pull: _Pull, rest: list[bytes], tried: frozenset[bytes], data: bytes | None
    ) -> None:
        if data is not None:
            self._line.keep(pull.root, data)
        self._ask(name, pull, rest, tried)
