"""What the silent nodes of a run cost in CPU, apart from the simulator around them. No trace knows of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from p2pfed.node.events import Event

T = TypeVar("T")
Asked = TypeVar("Asked", covariant=True)

ONE_IN = 16  # Steps of which one is measured: to look at the clock costs a tenth of a short step.


class Stepping(Protocol[Asked]):
    """A node, or a liar around one."""

    def step(self, event: Event, now_ms: int) -> Asked: ...


class Meter:
    """Adds up the CPU time of steps, of which it measures a few, and of heavy work, all of it."""

    def __init__(self) -> None:
        self._steps = self._steps_ns = self._work_ns = 0

    @property
    def cpu_s(self) -> float:
        """The CPU time of the nodes so far, in seconds."""
        return (ONE_IN * self._steps_ns + self._work_ns) / 1e9

    def step(self, actor: Stepping[T], event: Event, now_ms: int) -> T:
        """Let a node take a step."""
        self._steps += 1
        if self._steps % ONE_IN:
            return actor.step(event, now_ms)
        started_ns = time.process_time_ns()
        asked = actor.step(event, now_ms)
        self._steps_ns += time.process_time_ns() - started_ns
        return asked

    def work(self, do: Callable[[], T]) -> T:
        """Do what a node asks for as an effect because it takes long."""
        started_ns = time.process_time_ns()
        try:
            return do()
        finally:
            self._work_ns += time.process_time_ns() - started_ns
