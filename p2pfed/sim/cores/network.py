"""The wires between cores: what becomes of a message on its way, by the faults of the schedule."""

from __future__ import annotations

from random import Random

from p2pfed.sim.cores.schedule import Fault, Schedule

DELAY_MS = (2, 30)  # One way where nothing is wrong.
TAIL_MS_MAX = 5_000
_ON_WIRES = frozenset({
    "loss", "delay", "duplicate", "reorder", "one_way", "partition", "ring", "bridge", "flapping", "filter",
    "mute",
})  # fmt: skip


class Network:
    """Delays of copies; `fired` counts, by the fault's number, how often each struck."""

    def __init__(self, schedule: Schedule, dice: Random) -> None:
        self.fired = [0] * len(schedule.faults)
        self._random = dice.random
        self._faults = [
            (number, fault) for number, fault in enumerate(schedule.faults) if fault.kind in _ON_WIRES
        ]
        self._last_ms = max((fault.until_ms for _, fault in self._faults), default=0)
        self._shortest, longest = DELAY_MS
        self._span = longest - self._shortest

    def delays(self, sender: int, receiver: int, kind: str, now_ms: int) -> tuple[int, ...]:
        """Return after how long each copy arrives: none where it is lost."""
        delay_ms = self._shortest + int(self._random() * self._span)
        if now_ms >= self._last_ms:
            return (delay_ms,)
        copies: tuple[int, ...] = (delay_ms,)
        for number, fault in self._faults:
            if fault.from_ms <= now_ms < fault.until_ms:
                after = self._strike(fault, sender, receiver, kind, now_ms, copies)
                if after is not copies:
                    self.fired[number] += 1
                    if not after:
                        return after
                    copies = after
        return copies

    def _strike(
        self, fault: Fault, sender: int, receiver: int, kind: str, now_ms: int, copies: tuple[int, ...]
    ) -> tuple[int, ...]:
        """Return the copies that a fault leaves: the very same ones where it spares the message."""
        peers = fault.peers
        match fault.kind:
            case "loss":
                is_lost = self._random() < fault.share
            case "one_way":
                is_lost = (sender, receiver) == peers
            case "partition":
                is_lost = (sender in peers) != (receiver in peers)
            case "flapping":
                is_lost = now_ms // fault.amount % 2 == 0 and (sender in peers) != (receiver in peers)
            case "ring":
                is_lost = (peers.index(sender) - peers.index(receiver)) % len(peers) not in (
                    1,
                    len(peers) - 1,
                )
                is_lost = is_lost and sender != receiver
            case "bridge":
                gap = peers.index(-1)
                left, bridge = peers[:gap], peers[gap + 1 :]
                is_lost = (
                    sender not in bridge and receiver not in bridge and (sender in left) != (receiver in left)
                )
            case "mute":
                is_lost = kind in fault.messages and sender in peers and receiver not in peers
            case "filter":
                is_lost = kind in fault.messages and receiver in peers and self._random() < fault.share
            case _:
                return self._delay(fault, copies)
        return () if is_lost else copies

    def _delay(self, fault: Fault, copies: tuple[int, ...]) -> tuple[int, ...]:
        if self._random() >= fault.share:
            return copies
        if fault.kind == "duplicate":
            return (*copies, copies[0] + int(self._random() * fault.amount))
        if fault.kind == "reorder":
            return (copies[0] + int(self._random() * fault.amount), *copies[1:])
        # A Pareto tail: most wait little, a few very long.
        tail_ms = int(fault.amount * ((1 - self._random()) ** -0.8 - 1))
        return (copies[0] + min(TAIL_MS_MAX, tail_ms), *copies[1:])
