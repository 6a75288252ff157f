"""The power of a simulated machine: it may be cut at any crash point of production."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from p2pfed.storage.crash_points import NAMES

WRITE = "write"  # Any crash point.
PointHook = Callable[[str], None]


class PowerCut(Exception):
    """The power is gone; raised at a crash point, inside the write."""

    def __init__(self, point: str, down_ms: int) -> None:
        super().__init__(f"at {point}")
        self.point = point
        self.down_ms = down_ms


def ignore_point(name: str) -> None:
    assert name in NAMES, name


class Switch:
    """Counts the points that one peer passes in all its lives, and cuts where it was told to.

    Args:
        cuts: (name of a point, or WRITE for all together; number of its passing, from 0; ms down).
    """

    def __init__(self, cuts: list[tuple[str, int, int]]) -> None:
        self.passed: Counter[str] = Counter()
        self.struck: list[str] = []  # The points of the cuts so far.
        self._cuts = sorted(cuts)

    def cut_next(self, name: str, down_ms: int = 0) -> None:
        """Cut at the next passing of a point."""
        ignore_point(name)
        self._cuts.append((name, self.passed[name], down_ms))

    def pass_point(self, name: str) -> None:
        ignore_point(name)
        self.passed.update((name, WRITE))
        for cut in self._cuts:
            at, number, down_ms = cut
            if at in (name, WRITE) and number < self.passed[at]:
                self._cuts.remove(cut)
                self.struck.append(name)
                raise PowerCut(name, down_ms)
