"""How far a fetch is, told to a person now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec import Struct

PROGRESS_MS = 2_000  # How often a person is told.


class Progress(Struct):
    """How much of the model or state of `height` is here, in bytes."""

    height: int
    done: int
    size: int
    part: str = ""


class Paced:
    """Tells at most every PROGRESS_MS, first after so long: what comes at once needs no words."""

    def __init__(self, tell: Callable[[Progress], None]) -> None:
        self._tell = tell
        self._told_s = asyncio.get_running_loop().time()

    def __call__(self, progress: Progress) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s - self._told_s >= PROGRESS_MS / 1000:
            self._told_s = now_s
            self._tell(progress)
