"""The wires between simulated peers: pipes, and what becomes of a message on its way."""

from __future__ import annotations

from random import Random

from p2pfed.sim.scenario import Partition, Scenario

Pipe = tuple[int, int]  # Two peers, the smaller number first.


class Network:
    """Which pipes are open and how long a message takes; the dice are the run's."""

    def __init__(self, scenario: Scenario, dice: Random) -> None:
        self._scenario = scenario
        self._dice = dice
        self._pipes: dict[Pipe, int] = {}  # Its number, so that a message of an older pipe is known.
        self._opened = 0

    def open(self, first: int, second: int) -> None:
        """Open a pipe; there is none yet."""
        assert self.pipe(first, second) is None
        self._opened += 1
        self._pipes[_pipe(first, second)] = self._opened

    def close(self, first: int, second: int) -> bool:
        """Close the pipe; answer whether there was one."""
        return self._pipes.pop(_pipe(first, second), None) is not None

    def pipe(self, first: int, second: int) -> int | None:
        """Return the number of the open pipe between two peers."""
        return self._pipes.get(_pipe(first, second))

    def partners(self, peer: int) -> tuple[int, ...]:
        """Return who has a pipe with `peer`, ascending."""
        return tuple(sorted(sum(pair) - peer for pair in self._pipes if peer in pair))

    def is_cut(self, first: int, second: int, at_ms: int) -> bool:
        """Answer whether a partition stands between two peers."""
        return any(_divides(partition, first, second, at_ms) for partition in self._scenario.partitions)

    def delays(self, first: int, second: int, at_ms: int) -> tuple[int, ...]:
        """Return after how long each copy of a message arrives: none where it is lost, two where doubled."""
        scenario, is_bad = self._scenario, at_ms < self._scenario.heal_ms
        if self.is_cut(first, second, at_ms) or (is_bad and self._dice.random() < scenario.loss):
            return ()
        copies = 2 if is_bad and self._dice.random() < scenario.duplicate else 1
        return tuple(self.delay_ms(at_ms) for _ in range(copies))

    def delay_ms(self, at_ms: int) -> int:
        """Return one way's time."""
        shortest, longest = self._scenario.delay_ms
        return self._dice.randint(shortest, longest if at_ms < self._scenario.heal_ms else max(shortest, 5))


def _pipe(first: int, second: int) -> Pipe:
    return min(first, second), max(first, second)


def _divides(partition: Partition, first: int, second: int, at_ms: int) -> bool:
    is_now = partition.from_ms <= at_ms < partition.until_ms
    return is_now and (first in partition.group) != (second in partition.group)
