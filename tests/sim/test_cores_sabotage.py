"""The checkers see: cores that are broken on purpose turn a campaign red."""

from __future__ import annotations

import gc
from collections.abc import Iterable

import msgspec
import pytest
from msgspec.structs import replace

from p2pfed.consensus import certificates, machine, vote_keeper
from p2pfed.consensus.engine import Engine
from p2pfed.consensus.signer import SignPrevote, SignRequest, initial_record
from p2pfed.sim.cores.core import Core, Effect, Persist, Spoken
from p2pfed.sim.cores.schedule import draw
from p2pfed.sim.cores.world import World


def first_violation(seeds: Iterable[int], core: type[Core] = Core, byzantine: int = 1) -> str:
    for seed in seeds:
        violations = World(draw(seed, 4, byzantine), core=core).run().violations
        if violations:
            return violations[0]
    gc.collect()
    return ""


class SpeaksBeforeItWrites(Core):
    """The record never reaches the disk."""

    def _act(self, outbox: list[Effect]) -> bool:
        return super()._act([effect for effect in outbox if not isinstance(effect, Persist)])


class ForgetsItsRecord(Core):
    """A restart begins with an empty record."""

    def restart(self) -> None:
        self.disk = initial_record()
        super().restart()


class IgnoresItsLock(Core):
    """The signer doesn't know the lock either."""

    def speak(self, request: SignRequest, outbox: list[Effect]) -> Spoken | None:
        self.record = msgspec.structs.replace(self.record, lock_round=-1)
        return super().speak(request, outbox)


class VotesTwice(Core):
    """A nil vote follows every vote."""

    def speak(self, request: SignRequest, outbox: list[Effect]) -> Spoken | None:
        spoken = super().speak(request, outbox)
        if isinstance(request, SignPrevote) and request.value_id is not None:
            self.record = msgspec.structs.replace(self.record, step=1, prevote=None)
            super().speak(replace(request, value_id=None, valid_round=-1), outbox)
        return spoken


class NeverAnswers(Core):
    """Nobody hears what it lacks."""

    def _answers(self, theirs: object) -> list[Spoken]:
        return []


def is_half(power: int, total: int) -> bool:
    return 2 * power >= total


def test_a_core_that_speaks_before_it_writes_is_seen() -> None:
    assert "spoke before that was durable" in first_violation([1], SpeaksBeforeItWrites)


def test_a_core_that_forgets_its_record_is_seen() -> None:
    assert "its lock" in first_violation(range(1, 40), ForgetsItsRecord)


def test_a_core_that_votes_twice_is_seen() -> None:
    assert first_violation(range(1, 10), VotesTwice)


def test_a_lock_that_nobody_minds_makes_honest_cores_convictable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.State, "is_lock_free", lambda state, valid_round: True)
    assert "convicted" not in first_violation([7])  # The signer alone refuses still: nobody is framed.
    assert "it accuses an honest validator: Amnesia" in first_violation([7], IgnoresItsLock)
    monkeypatch.setattr(vote_keeper.AmnesiaWatch, "add", lambda watch, vote: None)
    assert "can be convicted of ['E2']" in first_violation([7], IgnoresItsLock)  # Without the engine's help.


def test_a_quorum_of_half_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vote_keeper, "has_quorum", is_half)
    monkeypatch.setattr(certificates, "has_quorum", is_half)
    assert "a certificate that is none" in first_violation([1])


def test_a_network_without_answers_stays_undecided() -> None:
    assert "undecided" in first_violation(range(1, 30), NeverAnswers)


def test_engines_that_take_any_signature_let_a_forger_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2pfed.sim.cores.oracle.SignatureOracle.is_signed_by", lambda *_: True)
    assert first_violation(range(1, 60))


def test_a_duplicate_decision_is_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above a third forks happen, and are violations where the schedule claims to be safe."""
    monkeypatch.setattr("p2pfed.sim.cores.schedule.Schedule.is_safe", property(lambda _: True))
    violation = first_violation(range(1, 20), byzantine=2)
    assert "a fork at height" in violation or "it halts: SafetyViolated" in violation


def test_votes_without_end_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "votes_held", property(lambda _: 10_000))
    assert "keeps 10000 votes" in first_violation([1])
