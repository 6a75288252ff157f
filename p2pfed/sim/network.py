"""The wires between simulated peers: pipes, and what becomes of a message on its way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from random import Random

from p2pfed.sim.faults import DELAY_TAIL_MS_MAX, SHARE_MAX, WIRE_FAULTS, Fault, divides
from p2pfed.sim.scenario import Scenario

Pipe = tuple[int, int]  # Two peers, the smaller number first.
_BREAKS_PIPES = ("disconnect", "flapping")


class Network:
    """Which pipes are open and how long a message takes; the dice are the run's.

    fired: How often each fault of the scenario struck, by its number.
    """

    def __init__(self, scenario: Scenario, dice: Random) -> None:
        self.fired = [0] * len(scenario.faults)
        self._random = dice.random
        self._shortest, longest = scenario.delay_ms
        self._span = longest - self._shortest + 1
        kinds = (*WIRE_FAULTS, "disconnect")
        self._faults = [
            (number, fault) for number, fault in enumerate(scenario.faults) if fault.kind in kinds
        ]
        self._last_ms = max((fault.until_ms for _, fault in self._faults), default=0)
        # By both ends. Each pipe has a number, so that a message of an older one is known.
        self._pipes: dict[int, dict[int, int]] = defaultdict(dict)
        self._opened = 0
        self._free_us: dict[int, int] = {}  # When a sender of limited bandwidth is done with what it sends.

    def open(self, first: int, second: int) -> None:
        """Open a pipe; there is none yet."""
        assert self.pipe(first, second) is None
        self._opened += 1
        self._pipes[first][second] = self._pipes[second][first] = self._opened

    def close(self, first: int, second: int) -> bool:
        """Close the pipe; answer whether there was one."""
        is_open = self._pipes[first].pop(second, None) is not None
        if is_open:
            del self._pipes[second][first]
        return is_open

    def pipe(self, first: int, second: int) -> int | None:
        """Return the number of the open pipe between two peers."""
        return self._pipes[first].get(second)

    def pipes(self, peer: int) -> Mapping[int, int]:
        """Return the numbers of a peer's pipes, by who is at their other end."""
        return self._pipes[peer]

    def partners(self, peer: int) -> tuple[int, ...]:
        """Return who has a pipe with `peer`, ascending."""
        return tuple(sorted(self._pipes[peer]))

    def is_cut(self, first: int, second: int, at_ms: int) -> bool:
        """Answer whether no pipe can be opened: something stands between two peers, one way or the other."""
        if at_ms >= self._last_ms:
            return False
        for number, fault in self._faults:
            if fault.is_on(at_ms) and (
                divides(fault, first, second, at_ms) or divides(fault, second, first, at_ms)
            ):
                self.fired[number] += 1
                return True
        return False

    def broken(self, at_ms: int) -> tuple[Pipe, ...]:
        """Return the pipes that a fault tears now, ascending."""
        torn = []
        for number, fault in self._faults:
            if fault.kind in _BREAKS_PIPES and fault.is_on(at_ms):
                opened = [(one, other) for one in self._pipes for other in self._pipes[one] if one < other]
                cut = [pipe for pipe in opened if divides(fault, *pipe, at_ms)]
                self.fired[number] += len(cut)
                torn += cut
        return tuple(sorted(set(torn)))

    def tears(self) -> tuple[int, ...]:
        """Return when pipes are torn, ascending."""
        times = {fault.from_ms for _, fault in self._faults if fault.kind == "disconnect"}
        for _, fault in self._faults:
            if fault.kind == "flapping":
                times.update(range(fault.from_ms, fault.until_ms, 2 * fault.amount))
        return tuple(sorted(times))

    def delays(self, sender: int, receiver: int, kind: str, size: int, at_ms: int) -> tuple[int, ...]:
        """Return after how long each copy of a message arrives: none where it is lost, two where doubled."""
        delay_ms = self._shortest + int(self._random() * self._span)
        if at_ms >= self._last_ms:
            return (delay_ms,)
        copies: tuple[int, ...] = (delay_ms,)
        for number, fault in self._faults:
            if not fault.is_on(at_ms):
                continue
            after = self._strike(fault, sender, receiver, kind, size, at_ms, copies)
            if after is not copies:
                self.fired[number] += 1
                copies = after
                if not copies:
                    break
        return copies

    def _strike(
        self,
        fault: Fault,
        sender: int,
        receiver: int,
        kind: str,
        size: int,
        at_ms: int,
        copies: tuple[int, ...],
    ) -> tuple[int, ...]:
        """Return the copies that a fault leaves: the very same ones where it spares the message."""
        match fault.kind:
            case "loss" | "delay" | "duplicate" | "reorder" | "filter":
                if fault.peers and receiver not in fault.peers:
                    return copies
                if fault.kind == "filter" and kind not in fault.messages:
                    return copies
                if self._random() * SHARE_MAX >= fault.permille:
                    return copies
                return self._bend(fault, copies)
            case "bandwidth":
                if fault.peers and sender not in fault.peers:
                    return copies
                started_us = max(self._free_us.get(sender, 0), at_ms * 1_000)
                self._free_us[sender] = started_us + size * 1_000_000 // fault.amount
                wait_ms = self._free_us[sender] // 1_000 - at_ms
                return copies if wait_ms <= 0 else tuple(delay_ms + wait_ms for delay_ms in copies)
            case _:
                return () if divides(fault, sender, receiver, at_ms) else copies

    def _bend(self, fault: Fault, copies: tuple[int, ...]) -> tuple[int, ...]:
        """Return what is left of a message that a fault of chance struck."""
        match fault.kind:
            case "duplicate":
                return (*copies, copies[0] + int(self._random() * fault.amount))
            case "reorder":
                return (copies[0] + int(self._random() * fault.amount), *copies[1:])
            case "delay":  # A Pareto tail: most wait little, a few very long.
                tail_ms = int(fault.amount * ((1 - self._random()) ** -0.8 - 1))
                return (copies[0] + min(DELAY_TAIL_MS_MAX, tail_ms), *copies[1:])
        return ()
