"""Whatever more than two thirds of liars do to a correct validator, its words never form evidence.

The rules, the engine and the signer are the real ones. All that ever left the peer, over every restart, is
held against itself pair by pair: double votes, forgotten locks, double proposals, double availability votes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, permutations
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.consensus import CHAIN_ID, Committee, Peer

from p2pfed.consensus.evidence import claim_of
from p2pfed.consensus.io import (
    CollectEnded,
    GetValue,
    Input,
    LocalValue,
    PolkaReceived,
    ProposalReceived,
    TimeoutFired,
    ValueReady,
    VoteReceived,
)
from p2pfed.consensus.signer import (
    Signed,
    SignPrecommit,
    SignPrevote,
    SignProposal,
    SignRecord,
    SignRequest,
    decide,
    initial_record,
)
from p2pfed.errors import WrongHeight
from p2pfed.types.availability import AvailMessage
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import ProposalMessage

ROUNDS = 5
COMMITTEE = Committee()
VALUES = [COMMITTEE.header(salt=salt) for salt in (1, 2)]
IDS = [header.value_id for header in VALUES]
POLKAS = {
    (round_, value, valid_round): COMMITTEE.polka("BCD", round_, IDS[value], valid_round)
    for round_ in range(ROUNDS)
    for value in range(2)
    for valid_round in range(-1, round_)
}


def lies_in(said: list[object]) -> Iterator[str]:
    """Yield the name of each offence that two messages of one key show, straight from the spec."""
    for first, second in combinations(said, 2):
        match first, second:
            case (Prevote(), Prevote()) | (Precommit(), Precommit()):
                if first.round == second.round and claim_of(first) != claim_of(second):
                    yield "E1"
            case ProposalMessage(), ProposalMessage():
                ours, theirs = first.proposal, second.proposal
                if ours.round == theirs.round and claim_of(ours) != claim_of(theirs):
                    yield "E3"
            case AvailMessage(), AvailMessage():
                if first.avail.attempt == second.avail.attempt and first.avail.body() != second.avail.body():
                    yield "E7"
    for first, second in permutations(said, 2):
        if isinstance(first, Precommit) and isinstance(second, Prevote):
            has_values = first.value_id is not None and second.value_id is not None
            if has_values and second.valid_round < first.round < second.round:
                yield "E2"


class Victim:
    """One correct peer among liars that can form any certificate without it."""

    def __init__(self, seed: int) -> None:
        self.dice = Random(seed)
        self.peer = Peer(COMMITTEE, "A")
        self.said: list[object] = []
        self.tell(CollectEnded())

    def tell(self, input_: Input) -> None:
        pending = [input_]
        while pending:
            try:
                outputs = self.peer.take(pending.pop())
            except WrongHeight:
                continue  # A round too far ahead.
            pending += [LocalValue(o.round, self.header(o.round)) for o in outputs if isinstance(o, GetValue)]
            self.keep()

    def header(self, round_: int):
        return COMMITTEE.header(round_, salt=3, proposer="A")

    def keep(self) -> None:
        self.said += [message for message in self.peer.sent if message not in self.said]
        self.peer.sent.clear()

    def step(self) -> None:
        if self.dice.random() < 0.5:
            self.lure()
        else:
            self.confuse()

    def lure(self) -> None:
        """Play a round as if nobody lied: proposal, verdict, polka with the very claim of the proposal."""
        dice, engine = self.dice, self.peer.engine
        round_, value = engine.round, dice.randrange(2)
        if not 0 <= round_ < ROUNDS:
            return
        valid_round = dice.randrange(-1, round_)
        if engine.proposal(round_) is None and COMMITTEE.proposer(round_) != "A":
            polka = POLKAS.get((valid_round, value, -1))
            header = VALUES[value] if valid_round >= 0 else COMMITTEE.header(round_, salt=1 + value)
            self.tell(ProposalReceived(COMMITTEE.proposal(round_, header, valid_round, polka)))
        message = engine.proposal(round_)
        if message is None:
            return
        proposal = message.proposal
        self.tell(ValueReady(proposal.value_id, is_valid=True))
        if dice.random() < 0.7:
            polka = COMMITTEE.polka("BCD", round_, proposal.value_id, proposal.valid_round)
            self.tell(PolkaReceived(polka))
        self.tell(TimeoutFired("precommit", round_))

    def confuse(self) -> None:
        """Say anything that a liar can sign, let a timer fire, or take the power away."""
        dice = self.dice
        round_, value = dice.randrange(ROUNDS), dice.randrange(2)
        valid_round = dice.randrange(-1, round_)
        name = dice.choice("BCD")
        match dice.randrange(6):
            case 0:
                polka = POLKAS.get((valid_round, value, -1))
                if COMMITTEE.proposer(round_) != "A":  # Nobody else can sign for it.
                    message = COMMITTEE.proposal(round_, VALUES[value], valid_round, polka)
                    self.tell(ProposalReceived(message))
            case 1:
                self.tell(PolkaReceived(POLKAS[round_, value, valid_round]))
            case 2:
                self.tell(ValueReady(IDS[value], is_valid=dice.random() < 0.9))
            case 3:
                value_id = dice.choice([None, *IDS])
                vote = COMMITTEE.prevote(name, round_, value_id, valid_round if value_id else -1)
                self.tell(VoteReceived(dice.choice([vote, COMMITTEE.precommit(name, round_, value_id)])))
            case 4:
                kind = dice.choice(("propose", "prevote", "precommit"))
                self.tell(TimeoutFired(kind, max(self.peer.engine.round, 0)))
            case _:
                self.peer.restart()
                self.keep()
                if self.peer.engine.round < 0:  # Nothing was signed yet.
                    self.tell(CollectEnded())


def run(seed: int, steps: int = 40) -> Victim:
    victim = Victim(seed)
    for _ in range(steps):
        if victim.peer.engine.decided is None:
            victim.step()
    return victim


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 32))
def test_no_words_of_a_correct_validator_are_evidence(seed: int) -> None:
    assert list(lies_in(run(seed).said)) == []


def test_the_runs_put_the_victim_to_the_test() -> None:
    """They lock, lock again later, prevote under a lock and refuse under one; else nothing is shown."""
    runs = [run(seed).said for seed in range(30)]
    locks = [sorted(m.round for m in said if isinstance(m, Precommit) and m.value_id) for said in runs]
    assert sum(len(rounds) > 0 for rounds in locks) >= 12
    assert sum(len(rounds) > 1 for rounds in locks) >= 4
    after = [
        (said, rounds[0])
        for said, rounds in zip(runs, locks, strict=True)
        if rounds and any(isinstance(m, Prevote) and m.round > rounds[0] for m in said)
    ]
    assert len(after) >= 10
    for wants_value in (True, False):
        assert any(
            isinstance(m, Prevote) and m.round > lock and (m.value_id is not None) is wants_value
            for said, lock in after
            for m in said
        )


# The signer alone, in a small world walked whole: three rounds, one value and nil, every valid round.


def requests(rounds: int) -> Iterator[SignRequest]:
    """Yield everything that a small world can ask for."""
    header, index = VALUES[0], COMMITTEE.index("A")
    for round_ in range(rounds):
        for valid_round in range(-1, round_):
            yield SignPrevote(1, round_, header.value_id, valid_round, index)
        yield SignProposal(header, round_, -1, index, None)
        yield SignPrevote(1, round_, None, -1, index)
        yield SignPrecommit(1, round_, header.value_id, index, POLKAS[round_, 0, -1], header)
        yield SignPrecommit(1, round_, None, index, None, None)


@pytest.mark.parametrize(("forgets", "rounds"), [(False, 3), (True, 2)], ids=["as it is", "without rule R3"])
def test_every_history_of_a_signer_in_a_small_world_is_innocent(
    forgets: bool, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And without R3 some are not: the walk would see it."""
    monkeypatch.setattr("p2pfed.consensus.signer._sign", lambda message, *_: message)
    asked, key = tuple(requests(rounds)), COMMITTEE.key("A")
    start: tuple[SignRecord, frozenset[object]] = (initial_record(), frozenset())
    seen, frontier, guilty = {start}, [start], 0
    while frontier:
        record, said = frontier.pop()
        for request in asked:
            lock = record.lock_round
            if forgets:
                record = _with_lock(record, -1)
            answer = decide(record, request, key, CHAIN_ID)
            if isinstance(answer, Signed) and answer.is_new:
                kept = answer.record
                if forgets and kept.lock_round < 0:
                    kept = _with_lock(kept, lock)
                after = (kept, said | {answer.message})
                if after not in seen:
                    guilty += any(lies_in(list(after[1])))
                    seen.add(after)
                    frontier.append(after)
    assert len(seen) > (100 if forgets else 1_000)
    assert (guilty > 0) is forgets


def _with_lock(record: SignRecord, lock_round: int) -> SignRecord:
    return msgspec.structs.replace(record, lock_round=lock_round)
