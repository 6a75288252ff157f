"""Two liars of four make two honest peers decide different blocks; what the two hold convicts both liars.

Run as a program it plays more seeds: `PYTHONPATH=tests python tests/property/test_accountability.py 20000`.

The liars sign whatever helps: votes for both sides, proposals of any valid round, prevotes that forget. The
honest peers run the real engine and signer, are cut off from each other by chance, and crash. Only what each
would have on its disk is used: its polkas and its commit certificate.
"""

from __future__ import annotations

import sys
from collections import Counter
from random import Random

import pytest
from support.consensus import CHAIN_ID, Committee, Peer

from p2pfed.consensus.evidence import verify_evidence
from p2pfed.consensus.io import (
    CollectEnded,
    FoundEvidence,
    GetValue,
    Input,
    LocalValue,
    NeedValue,
    Output,
    PolkaReceived,
    ProposalReceived,
    SafetyViolated,
    TimeoutFired,
    ValueReady,
    VoteReceived,
)
from p2pfed.consensus.vote_keeper import VoteKeeper
from p2pfed.errors import WrongHeight
from p2pfed.types.certificate import CommitCert, PolkaCert
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import ProposalMessage

HONEST, LIARS = "AB", "CD"
COMMITTEE = Committee()
STEPS = 70


class Side:
    """One honest peer and what the liars tell it."""

    def __init__(self, name: str, dice: Random) -> None:
        self.name, self.dice = name, dice
        self.peer = Peer(COMMITTEE, name)
        self.disk: dict[tuple[int, bytes, int], PolkaCert] = {}
        self.salt = 2 + 2 * HONEST.index(name)
        self.is_halted = False
        self.accused: set[str] = set()
        self.tell(CollectEnded())

    @property
    def decided(self) -> CommitCert | None:
        return self.peer.engine.decided

    def tell(self, input_: Input) -> None:
        pending = [input_]
        while pending and not self.is_halted:
            before = self.peer.engine.round
            try:
                outputs = self.peer.take(pending.pop())
            except WrongHeight:
                continue
            if self.peer.engine.round != before:
                self.keep()  # V4: before the next round begins.
            pending += self.answers(outputs)

    def answers(self, outputs: list[Output]) -> list[Input]:
        found: list[Input] = []
        for output in outputs:
            match output:
                case GetValue(round=round_):
                    header = COMMITTEE.header(round_, salt=self.salt, proposer=self.name)
                    found.append(LocalValue(round_, header))
                case NeedValue(value_id=value_id):
                    found.append(ValueReady(value_id, is_valid=True))
                case SafetyViolated():
                    self.is_halted = True
                case FoundEvidence(evidence=evidence):
                    index = verify_evidence(evidence, COMMITTEE.validators, CHAIN_ID)
                    self.accused.add(COMMITTEE.name(index))
        return found

    def keep(self) -> None:
        for polka in self.peer.engine.polkas:
            self.disk.setdefault((polka.round, polka.value_id, polka.valid_round), polka)

    def step(self) -> None:
        """Let the liars help this side on, or let time pass, or take its power away."""
        dice, engine = self.dice, self.peer.engine
        round_ = engine.round
        proposer = COMMITTEE.proposer(round_)
        message = engine.proposal(round_)
        turn = dice.random()
        if turn < 0.3 or (message is None and proposer in HONEST):
            kind = dice.choice(("propose", "prevote", "precommit"))
            self.tell(TimeoutFired(kind, round_))
        elif message is None:
            self.tell(ProposalReceived(self.proposal(round_)))
        elif turn < 0.6:
            said = message.proposal
            for liar in LIARS:
                self.tell(VoteReceived(COMMITTEE.prevote(liar, round_, said.value_id, said.valid_round)))
        elif turn < 0.97:
            for liar in LIARS[: dice.choice((0, 1, 2, 2))]:
                self.tell(VoteReceived(COMMITTEE.precommit(liar, round_, message.proposal.value_id)))
        else:
            self.restart()

    def proposal(self, round_: int) -> ProposalMessage:
        """Propose for a liar: something new, or what this side saw a polka for."""
        known = [polka for polka in self.peer.engine.polkas if polka.round < round_]
        polka = self.dice.choice(known) if known and self.dice.random() < 0.7 else None
        header = self.peer.engine.header(polka.value_id) if polka else None
        if polka is None or header is None:
            return COMMITTEE.proposal(round_, COMMITTEE.header(round_, salt=self.salt))
        return COMMITTEE.proposal(round_, header, polka.round, polka)

    def restart(self) -> None:
        self.keep()  # The lock's polka is in the record; the others were kept when the round began.
        for answer in self.answers(self.peer.restart()):
            self.tell(answer)
        if self.peer.engine.round < 0:  # Nothing was signed yet.
            self.tell(CollectEnded())


def run(seed: int) -> tuple[Side, Side]:
    dice = Random(seed)
    sides = [Side(name, dice) for name in HONEST]
    for _ in range(STEPS):
        one, other = dice.sample(sides, 2)
        if one.decided is None:
            one.step()
        for message in one.peer.sent:
            if dice.random() < 0.2 and other.decided is None:  # The liars hold back the rest.
                pass_on(message, other)
        one.peer.sent.clear()
    for side in sides:
        side.keep()
    return sides[0], sides[1]


def pass_on(message: object, side: Side) -> None:
    match message:
        case ProposalMessage():
            side.tell(ProposalReceived(message))
        case Prevote() | Precommit():
            side.tell(VoteReceived(message))
        case PolkaCert():
            side.tell(PolkaReceived(message))


def convicted(sides: tuple[Side, Side]) -> tuple[set[str], Counter[str]]:
    """Return whom the two disks convict together, and of what."""
    votes, kinds, names = VoteKeeper(COMMITTEE.validators), Counter[str](), set()
    lies = [lie for side in sides for polka in side.disk.values() for lie in votes.add_polka(polka)]
    lies += [lie for side in sides if side.decided for lie in votes.add_commit(side.decided)]
    for lie in lies:
        names.add(COMMITTEE.name(verify_evidence(lie, COMMITTEE.validators, CHAIN_ID)))
        kinds[type(lie).__name__] += 1
    return names, kinds


@pytest.fixture(scope="module")
def runs() -> list[tuple[Side, Side]]:
    return [run(seed) for seed in range(80)]


def test_every_fork_convicts_both_liars_and_no_run_frames_an_honest_peer(
    runs: list[tuple[Side, Side]],
) -> None:
    for seed, sides in enumerate(runs):
        names, _ = convicted(sides)
        accused = names | sides[0].accused | sides[1].accused
        assert accused <= set(LIARS), f"seed {seed}"
        values = {side.decided.value_id for side in sides if side.decided}
        if len(values) == 2:
            assert names == set(LIARS), f"seed {seed}"


def test_the_runs_fork_within_a_round_and_across_rounds(runs: list[tuple[Side, Side]]) -> None:
    forks = [sides for sides in runs if all(side.decided for side in sides)]
    forks = [(a, b) for a, b in forks if a.decided.value_id != b.decided.value_id]  # type: ignore[union-attr]
    assert len(forks) >= 30
    only = Counter(tuple(sorted(convicted(sides)[1])) for sides in forks)
    assert only[("Amnesia",)] >= 3
    assert sum(only[kinds] for kinds in only if "DuplicateVote" in kinds) >= 3


def campaign(count: int) -> dict[str, object]:
    """Return what `count` runs found, from a seed that the tests don't use."""
    kinds, framed, missed = Counter[str](), 0, 0
    for seed in range(1_000, 1_000 + count):
        sides = run(seed)
        names, found = convicted(sides)
        framed += not names | sides[0].accused | sides[1].accused <= set(LIARS)
        if len({side.decided.value_id for side in sides if side.decided}) == 2:
            missed += names != set(LIARS)
            kinds["+".join(sorted(found))] += 1
    forks = sum(kinds.values())
    return {"runs": count, "forks": forks, "by": dict(kinds), "not convicted": missed, "framed": framed}


if __name__ == "__main__":
    print(campaign(int(sys.argv[1])))
