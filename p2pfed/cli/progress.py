"""A bar on a terminal, nothing anywhere else: long work shows that it goes on."""

from __future__ import annotations

import sys
from types import TracebackType

import click


class Progress:
    """A progress bar on standard error over `total` steps; silent where it isn't a terminal."""

    def __init__(self, label: str, total: int) -> None:
        self._is_shown = sys.stderr.isatty() and total > 0
        self._bar = click.progressbar(length=max(total, 1), label=label, file=sys.stderr)
        self._done = 0

    def __enter__(self) -> Progress:
        if self._is_shown:
            self._bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_shown:
            self._bar.__exit__(kind, error, trace)

    def step_to(self, done: int) -> None:
        """Show that `done` steps are made."""
        if self._is_shown:
            self._bar.update(done - self._done)
        self._done = done
