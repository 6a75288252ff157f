"""Who fell silent: until it signs again, its proposal is waited for a quarter as long, its update not at all.

A policy of one peer: it moves a timeout, never a vote, so peers need not agree on it.
"""

from __future__ import annotations

from p2pfed.consensus import io
from p2pfed.consensus.engine import Engine
from p2pfed.consensus.machine import Step
from p2pfed.node.effects import Effect, ScheduleTimeout
from p2pfed.node.events import Timer

Place = tuple[int, int]
"""`(height, round)`; round -1 is COLLECT."""

SHARE = 4


class ProposalWaits:
    """How long one height waits for the proposal of each round.

    Args:
        engine: Of this height.
        silent: The members' keys, each with the place where its silence was noticed; outlives the height.
        outbox: Where timers are asked for.
    """

    def __init__(self, engine: Engine, silent: dict[bytes, Place], outbox: list[Effect]) -> None:
        self._engine = engine
        self._silent = silent
        self._outbox = outbox
        self._heard: set[bytes] = set()  # Who has said anything about this height.
        self._rest: tuple[int, int] | None = None  # A round whose wait was cut, and what it lacks in ms.

    def lose(self, member: bytes) -> None:
        """Note that the connection to a member ended."""
        self._silent[member] = (self._engine.height, self._engine.round)

    def hear(self, index: int, round_: int) -> None:
        """Note a word of a validator about a round; one as old as its silence may be a copy from others."""
        self.hear_of(self._engine.validators.validators[index].key, (self._engine.height, round_))

    def hear_of(self, key: bytes, place: Place) -> None:
        """Note a word that `key` signed about a place."""
        self._heard.add(key)
        if self._silent and self._silent.get(key, place) < place:
            del self._silent[key]

    def close(self) -> None:
        """Note at the end of the height who said nothing in all of it."""
        own_index = self._engine.own_index
        for index, validator in enumerate(self._engine.validators.validators):
            if index != own_index and validator.key not in self._heard:
                self._silent.setdefault(validator.key, (self._engine.height, self._engine.round))

    def schedule(self, wanted: io.Schedule) -> None:
        """Start a timer, cut to a quarter where it waits for a validator that is silent."""
        delay_ms, round_ = wanted.delay_ms, wanted.round
        if wanted.kind == "propose":
            self._rest = None
            is_here = self._engine.proposal(round_) is not None
            if not is_here and self._proposer(round_) in self._silent:
                delay_ms //= SHARE
                self._rest = (round_, wanted.delay_ms - delay_ms)
        self._outbox.append(ScheduleTimeout(Timer(wanted.kind, self._engine.height, round_), delay_ms))

    def goes_on(self, timer: Timer) -> bool:
        """Wait on if the proposer spoke since the wait was cut; else who has not proposed is silent now."""
        engine, round_ = self._engine, timer.round
        if engine.round != round_ or engine.current_step is not Step.PROPOSE:
            return False
        rest, self._rest = self._rest, None
        key = self._proposer(round_)
        if rest is not None and rest[0] == round_ and key not in self._silent:
            self._outbox.append(ScheduleTimeout(timer, rest[1]))
            return True
        if engine.proposal(round_) is None and engine.proposer(round_) != engine.own_index:
            self._silent[key] = (engine.height, round_)
        return False

    def _proposer(self, round_: int) -> bytes:
        return self._engine.validators.validators[self._engine.proposer(round_)].key
