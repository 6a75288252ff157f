"""Four validators on a bad network, one a liar: they never disagree, and decide once the network heals.

While it is bad, anything may be lost, doubled, reordered or delayed, timers fire when they like, and honest
peers crash and go on from their record. One seed gives one run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.consensus import CHAIN_ID, Committee, Peer

from p2pfed.consensus.engine import Engine
from p2pfed.consensus.evidence import verify_evidence
from p2pfed.consensus.io import (
    CollectEnded,
    CommitReceived,
    Decided,
    FoundEvidence,
    GetValue,
    Input,
    LocalValue,
    NeedValue,
    Output,
    PolkaReceived,
    ProposalReceived,
    SafetyViolated,
    Schedule,
    TimeoutFired,
    ValueReady,
    VoteReceived,
)
from p2pfed.errors import WrongHeight
from p2pfed.types.block import Header
from p2pfed.types.certificate import CommitCert, PolkaCert
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import ProposalMessage

HONEST, LIAR = "ABC", "D"
ROUNDS_TO_DECIDE_MAX = (
    12  # After healing: at most a few rounds of catching up, and one honest proposer in each 4.
)


def input_of(message: object) -> Input | None:
    match message:
        case ProposalMessage():
            return ProposalReceived(message)
        case Prevote() | Precommit():
            return VoteReceived(message)
        case PolkaCert():
            return PolkaReceived(message)
        case CommitCert():
            return CommitReceived(message)
    return None


@dataclass
class World:
    """Peers, what is under way to them, and their timers (due, number, name, timeout)."""

    seed: int
    random: Random = field(init=False)
    committee: Committee = field(default_factory=Committee)
    under_way: list[tuple[str, Input]] = field(default_factory=list)
    timers: list[tuple[int, str, TimeoutFired]] = field(default_factory=list)
    headers: list[Header] = field(default_factory=list)
    decisions: dict[str, bytes] = field(default_factory=dict)
    convicted: set[str] = field(default_factory=set)
    cut_off: list[str] = field(default_factory=list)
    now_ms: int = 0

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.peers = {name: Peer(self.committee, name) for name in HONEST}
        self.under_way = [(name, CollectEnded()) for name in HONEST]

    def deliver(self, name: str, input_: Input) -> None:
        peer = self.peers[name]
        try:
            outputs = peer.take(input_)
        except WrongHeight:
            return  # Too many rounds ahead. No other blame: honest peers, and this liar, spell and sign well.
        self.observe(name, outputs)

    def observe(self, name: str, outputs: list[Output]) -> None:
        peer = self.peers[name]
        for output in outputs:
            match output:
                case NeedValue(value_id=value_id, header=header):
                    # Odd times mark what no honest proposer would build.
                    self.under_way.append((name, ValueReady(value_id, header.time_ms % 2 == 0)))
                case GetValue(round=round_):
                    header = self.committee.header(round_, salt=1 + 2 * len(self.headers), proposer=name)
                    self.headers.append(header)
                    self.under_way.append((name, LocalValue(round_, header)))
                case Schedule(kind=kind, round=round_, delay_ms=delay_ms):
                    self.timers.append((self.now_ms + delay_ms, name, TimeoutFired(kind, round_)))
                case Decided(cert=cert):
                    assert self.decisions.setdefault(name, cert.value_id) == cert.value_id
                case SafetyViolated():
                    pytest.fail(f"seed {self.seed}: {output}")
                case FoundEvidence(evidence=evidence):
                    index = verify_evidence(evidence, self.committee.validators, CHAIN_ID)
                    self.convicted.add(self.committee.name(index))
        for message in peer.sent:
            if isinstance(message, ProposalMessage):
                self.learn(message.header)
            self.send(message, to=[other for other in HONEST if self.is_linked(name, other)])
        peer.sent.clear()
        self.check()

    def learn(self, header: Header) -> None:
        if header not in self.headers:
            self.headers.append(header)

    def send(self, message: object, to: list[str]) -> None:
        input_ = input_of(message)
        if input_ is not None:
            self.under_way += [(name, input_) for name in to]

    def is_linked(self, one: str, other: str) -> bool:
        """Answer whether a message may pass: not to oneself, seldom between those cut off and the rest."""
        is_cut = (one in self.cut_off) != (other in self.cut_off)
        return one != other and not (is_cut and self.random.random() < 0.95)

    def check(self) -> None:
        assert len(frozenset(self.decisions.values())) <= 1, f"seed {self.seed}: two values decided"
        assert self.convicted <= {LIAR}, f"seed {self.seed}: an honest peer is framed"

    def crash(self, name: str) -> None:
        """Only the record survives: inputs under way to the peer itself and its timers are gone."""
        if name in self.decisions:
            return
        self.timers = [timer for timer in self.timers if timer[1] != name]
        internal = CollectEnded | ValueReady | LocalValue
        self.under_way = [
            item for item in self.under_way if item[0] != name or not isinstance(item[1], internal)
        ]
        self.observe(name, self.peers[name].restart())
        self.under_way.append((name, CollectEnded()))

    def lie(self) -> None:
        """The liar speaks to each peer apart: mostly it backs what that peer sees, so that they part."""
        for name in HONEST:
            if self.random.random() < 0.6:
                for message in self.lies_for(self.peers[name].engine):
                    self.send(message, [name])

    def lies_for(self, victim: Engine) -> list[object]:
        committee, random = self.committee, self.random
        round_ = max(0, victim.round + random.choice((-1, 0, 0, 0, 0, 1)))
        seen = victim.proposal(round_)
        if seen is not None and random.random() < 0.7:
            value_id, valid_round = seen.proposal.value_id, seen.proposal.valid_round
        elif self.headers and random.random() < 0.5:
            value_id, valid_round = random.choice(self.headers).value_id, random.choice((-1, *range(round_)))
        else:
            value_id, valid_round = None, -1
        lies: list[object] = [
            committee.prevote(LIAR, round_, value_id, valid_round),
            committee.precommit(LIAR, round_, value_id),
        ]
        if committee.proposer(round_) == LIAR:
            lies.append(self.false_proposal(victim, round_))
        return [lie for lie in lies if random.random() < 0.7]

    def false_proposal(self, victim: Engine, round_: int) -> ProposalMessage:
        """Another value for each: a new one, an honest one sent as new, or an old one with its true polka."""
        polkas = [cert for cert in victim.polkas if cert.round < round_ and victim.header(cert.value_id)]
        if polkas and self.random.random() < 0.5:
            polka = self.random.choice(polkas)
            header = victim.header(polka.value_id)
            assert header is not None
            return self.committee.proposal(round_, header, polka.round, polka, by=LIAR)
        header = self.committee.header(round_, salt=self.random.randint(0, 5), proposer=LIAR)
        if self.headers and self.random.random() < 0.3:
            header = self.random.choice(self.headers)
        self.learn(header)
        return self.committee.proposal(round_, header, by=LIAR)

    def step_badly(self) -> None:
        chance = self.random.random()
        if chance < 0.01:  # Some are cut off for a while.
            self.cut_off = self.random.sample(HONEST, self.random.choice((0, 1, 1, 1)))
        elif chance < 0.10:
            self.lie()
        elif chance < 0.22 and self.timers:
            _, name, fired = self.timers.pop(self.random.randrange(len(self.timers)))
            self.deliver(name, fired)
        elif chance < 0.23:
            self.crash(self.random.choice(HONEST))
        elif chance < 0.24:
            self.gossip(self.random.choice(HONEST), self.random.choice(HONEST))
        elif self.under_way:
            self.deliver_badly(self.random.randrange(len(self.under_way)))

    def deliver_badly(self, place: int) -> None:
        name, input_ = self.under_way[place]
        if isinstance(input_, CollectEnded | ValueReady | LocalValue):  # Inside the peer nothing is lost.
            self.under_way.pop(place)
            self.deliver(name, input_)
            return
        fate = self.random.random()
        if fate > 0.1:  # Else doubled: it stays under way.
            self.under_way.pop(place)
        if fate < 0.6:  # Else lost.
            self.deliver(name, input_)

    def gossip(self, teller: str, hearer: str) -> None:
        """Tell a peer what it lacks by its digest, as the node does."""
        ours, theirs = self.peers[teller].engine, self.peers[hearer].engine
        if not self.is_linked(teller, hearer):
            return
        messages: list[object] = [ours.decided] if ours.decided else []
        messages += [ours.proposal(held.round) for held in theirs.digest_rounds() if not held.has_proposal]
        if theirs.valid_round < ours.valid_round:
            messages += [ours.best_polka, ours.proposal(ours.valid_round)]
        messages += [vote for held in theirs.digest_rounds() for vote in ours.votes_missing(held)]
        messages += ours.votes_ahead(theirs.round)
        for message in messages:
            if message is not None:
                self.send(message, [hearer])

    def heal(self) -> None:
        """From now on everything arrives before any timer fires; the liar goes on."""
        self.cut_off = []
        for _ in range(40 * ROUNDS_TO_DECIDE_MAX):
            self.settle()
            if len(self.decisions) == len(HONEST):
                return
            if self.random.random() < 0.5:
                self.lie()
                continue
            if self.timers:
                self.timers.sort(key=lambda timer: timer[0])
                self.now_ms, name, fired = self.timers.pop(0)
                self.deliver(name, fired)
        stands = {name: (p.engine.round, p.engine.current_step) for name, p in self.peers.items()}
        pytest.fail(f"seed {self.seed}: undecided after healing: {stands}, decided {sorted(self.decisions)}")

    def settle(self) -> None:
        for _ in range(3):
            for teller, hearer in self.pairs():
                self.gossip(teller, hearer)
            self.random.shuffle(self.under_way)
            while self.under_way:
                self.deliver(*self.under_way.pop())

    def pairs(self) -> Iterator[tuple[str, str]]:
        return ((teller, hearer) for teller in HONEST for hearer in HONEST if teller != hearer)


def run(seed: int) -> World:
    world = World(seed)
    for _ in range(world.random.choice((50, 200, 400, 800))):
        world.step_badly()
    world.heal()
    return world


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 32))
def test_honest_peers_never_disagree_and_decide_after_healing(seed: int) -> None:
    world = run(seed)
    assert len(frozenset(world.decisions.values())) == 1


def test_a_value_that_one_peer_decided_alone_survives_a_plot_for_another() -> None:
    """A decides X with B and the liar, and is cut off; B, locked, must not help C and the liar decide Y."""
    committee = Committee()
    a, b, c = (Peer(committee, name) for name in HONEST)
    x, y = committee.header(0), committee.header(2)
    for peer in (a, b, c):
        peer.take(CollectEnded())
    a.take(LocalValue(0, x))
    for peer in (b, c):
        peer.take(ProposalReceived(committee.proposal(0, x)))
        peer.take(ValueReady(x.value_id, True))
    for peer in (a, b):  # Both see the polka; C sees nothing.
        for name in "ABD":
            peer.take(VoteReceived(committee.prevote(name, 0, x.value_id)))
    for name in "BD":
        outputs = a.take(VoteReceived(committee.precommit(name, 0, x.value_id)))
    assert isinstance(outputs[-1], Decided)
    for round_ in (0, 1):
        for peer in (b, c):
            for kind in ("propose", "prevote", "precommit"):
                peer.take(TimeoutFired(kind, round_))
    c.take(LocalValue(2, y))
    b.take(ProposalReceived(committee.proposal(2, y)))
    b.take(ValueReady(y.value_id, True))
    assert (b.engine.round, c.engine.round) == (2, 2)
    said = [message for peer in (b, c) for message in peer.sent if isinstance(message, Prevote | Precommit)]
    lies = [committee.prevote("D", 2, y.value_id), committee.precommit("D", 2, y.value_id)]
    for peer in (b, c):
        for vote in [*said, *lies]:
            peer.take(VoteReceived(vote))
    assert b.record.prevote == committee.prevote("B", 2, None)
    assert (b.engine.decided, c.engine.decided) == (None, None)
    for peer in (b, c):
        assert a.engine.decided is not None
        peer.take(CommitReceived(a.engine.decided))
        assert peer.engine.decided == a.engine.decided


def test_the_runs_are_worth_something() -> None:
    """The sampled runs reach late rounds, locks and lies; else the property above shows nothing."""
    worlds = [run(seed) for seed in range(12)]
    engines = [peer.engine for world in worlds for peer in world.peers.values()]
    assert sum(engine.decided is not None and engine.decided.round > 2 for engine in engines) >= 6
    assert any(engine.locked_round >= 0 for engine in engines)
    assert any(cert.valid_round >= 0 for engine in engines for cert in engine.polkas)
    assert sum(LIAR in world.convicted for world in worlds) >= 6


def test_one_seed_gives_one_run() -> None:
    first, second = run(7), run(7)
    assert first.decisions == second.decisions
    assert first.now_ms == second.now_ms
    assert [p.engine.polkas for p in first.peers.values()] == [p.engine.polkas for p in second.peers.values()]
