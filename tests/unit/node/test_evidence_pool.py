"""Proofs of lies: found by a node in what it hears, kept once, told to others, put into blocks."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from support.chain import NO_SIGNATURE, World
from support.lab import Lab, sent_by

from p2pfed.aggregation.payload import encode_payload
from p2pfed.chain.invalid_update import invalid_header, opening
from p2pfed.chain.state import ChainState
from p2pfed.consensus.certificates import commit_cert
from p2pfed.errors import BadSignature
from p2pfed.node import events
from p2pfed.node.effects import Blame, Effect, Halt, Observe, Send, StoreBlock, StorePolkas
from p2pfed.node.events import BodyFetched, PayloadFetched, ProposalChecked
from p2pfed.node.evidence_pool import EVIDENCE_POOL_MAX, EvidencePool
from p2pfed.node.facts import EvidenceFound, StakeSlashed
from p2pfed.primitives.digest import sha256
from p2pfed.primitives.merkle import chunk_root
from p2pfed.types.availability import AvailMessage
from p2pfed.types.block import Block, Body, Header
from p2pfed.types.certificate import CommitCert
from p2pfed.types.evidence import (
    Amnesia,
    DuplicateAvail,
    DuplicateUpdate,
    DuplicateVote,
    Evidence,
    InvalidUpdate,
    LightClientAttack,
)
from p2pfed.types.params import EVIDENCE_PER_BLOCK_MAX
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import Digest

FOUR = (10, 10, 10, 10)
FAR_AHEAD = Digest(9, 0, 0, -1, -1, (), b"\0", b"\0")


@pytest.fixture
def world() -> World:
    return World(FOUR)


@pytest.fixture
def lab(world: World) -> Lab:
    lab = Lab(world=world, is_learning=False)
    lab.start()
    return lab


def liar_of(lab: Lab) -> int:
    """Return a validator, and participant of the same number, that is not our node."""
    return next(place for place in range(4) if lab.world.key(place).public != lab.key.public)


def kinds(lab: Lab) -> list[str]:
    return [fact.kind for fact in lab.facts(EvidenceFound)]


# The pool


def test_one_proof_of_each_kind_and_culprit_is_kept(world: World) -> None:
    outbox: list[Effect] = []
    pool = EvidencePool(outbox)
    proofs = [*world.all_evidence(1), *world.all_evidence(2)]
    kept = [proof for proof in proofs if pool.add(world.state, proof)]
    # The lies against agreement are of one kind: whichever came first.
    assert kept == [proof for proof in proofs if not isinstance(proof, Amnesia | LightClientAttack)]
    assert not any(pool.add(world.state, proof) for proof in proofs)
    assert not pool.add(world.state, world.double_vote(1, height=1))
    assert pool.select() == tuple(kept)
    assert len(outbox) == len(pool) == 10
    assert all(isinstance(effect, Observe) and isinstance(effect.fact, EvidenceFound) for effect in outbox)


def test_a_proof_that_would_change_nothing_costs_no_signature(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = EvidencePool([])
    pool.add(world.state, world.double_vote(1))
    monkeypatch.setattr("p2pfed.types.message.has_valid_signature", lambda *_: pytest.fail("verified"))
    forged = msgspec.structs.replace(world.double_vote(1).first, signature=NO_SIGNATURE)
    assert not pool.add(world.state, DuplicateVote(forged, world.double_vote(1).second))


def test_a_false_proof_blames_its_sender_and_keeps_the_place_free(world: World) -> None:
    pool, proof = EvidencePool([]), world.amnesia(1)
    forged = Amnesia(proof.precommit, msgspec.structs.replace(proof.prevote, signature=NO_SIGNATURE))
    with pytest.raises(BadSignature):
        pool.add(world.state, forged)
    assert pool.add(world.state, proof)


def test_the_pool_is_bounded_and_a_block_takes_its_share(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("p2pfed.node.evidence_pool.EVIDENCE_POOL_MAX", 3)
    pool = EvidencePool([])
    added = [pool.add(world.state, proof) for proof in world.all_evidence(1)]
    assert added == [True, False, True, True, False, False, False]  # The second is of the first one's kind.
    assert EVIDENCE_POOL_MAX > EVIDENCE_PER_BLOCK_MAX


def test_what_a_block_convicted_or_time_forgave_leaves_the_pool(world: World) -> None:
    pool = EvidencePool([])
    first, second = world.double_vote(1), world.double_avail(2)
    pool.add(world.state, first)
    pool.add(world.state, second)
    world.advance(evidence=(first,))
    pool.prune(world.state)
    assert pool.select() == (second,)
    assert not pool.add(world.state, first)


# The node finds them


def test_two_updates_of_a_trainer_are_proof(lab: Lab) -> None:
    twice = lab.world.double_update(liar_of(lab))
    assert kinds(lab) == []
    lab.hear(twice.first)
    lab.hear(twice.second)
    assert kinds(lab) == ["DuplicateUpdate"]
    assert lab.sent(DuplicateUpdate) == [twice]
    lab.hear(lab.world.update(liar_of(lab), examples=8))
    assert kinds(lab) == ["DuplicateUpdate"]


def test_two_availability_votes_are_proof_and_the_first_one_stays(lab: Lab) -> None:
    liar = liar_of(lab)
    first, second = (lab.world.avail(liar, [sha256(name)]) for name in (b"one", b"two"))
    for message in (first, first, second, second, lab.world.avail(liar, [])):
        lab.hear(message)
    (proof,) = lab.sent(DuplicateAvail)
    assert {proof.first, proof.second} == {first.avail, second.avail}
    assert lab.node.work is not None
    assert lab.node.work.pool.avails[liar] == first
    assert lab.all_of(Blame) == []


def block_with(lab: Lab, liar: int, message: AvailMessage) -> tuple[Header, Body, ChainState]:
    """Return a block that holds this availability vote of the liar, and none of one other validator."""
    world = lab.world
    absent = next(place for place in range(4) if place != liar)
    avails = [world.avail(place, world.updates()) for place in range(4) if place not in (liar, absent)]
    inputs = sorted([*avails, message], key=lambda one: one.avail.validator_index)
    return world.build(avails=tuple(inputs))


@pytest.mark.parametrize("is_first", [True, False])
def test_an_availability_vote_is_held_against_the_one_in_the_block_whichever_comes_first(
    lab: Lab, is_first: bool
) -> None:
    world, liar = lab.world, liar_of(lab)
    in_block, other = (world.avail(liar, world.updates(), time_ms=world.state.time_ms + n) for n in (5, 6))
    header, body, _ = block_with(lab, liar, in_block)
    steps = [lambda: lab.hear(other), lambda: lab.step(BodyFetched(header, body))]
    for step in steps if is_first else reversed(steps):
        assert kinds(lab) == []
        step()
    (proof,) = lab.sent(DuplicateAvail)
    assert {proof.first, proof.second} == {in_block.avail, other.avail}


def test_an_availability_vote_that_comes_after_its_block_is_held_against_the_one_in_it(lab: Lab) -> None:
    world, liar = lab.world, liar_of(lab)
    in_block, other = (world.avail(liar, world.updates(), time_ms=world.state.time_ms + n) for n in (5, 6))
    header, body, after = block_with(lab, liar, in_block)
    lab.step(BodyFetched(header, body))
    for update in body.updates:
        lab.step(PayloadFetched(update.update_id, is_valid=True))
    lab.step(ProposalChecked(header.value_id, after, ""))
    lab.hear(world.certify(header))
    assert lab.node.state.height == 1
    lab.hear(in_block)
    unsigned = msgspec.structs.replace(
        other, avail=msgspec.structs.replace(other.avail, signature=NO_SIGNATURE)
    )
    assert (kinds(lab), lab.all_of(Blame)) == ([], [])
    lab.hear(unsigned)
    assert kinds(lab) == []
    assert [effect.fault for effect in lab.all_of(Blame)] != []
    for _ in range(2):
        lab.hear(other)
    (proof,) = lab.sent(DuplicateAvail)
    assert {proof.first, proof.second} == {in_block.avail, other.avail}


def test_a_second_availability_vote_that_nobody_signed_accuses_nobody(lab: Lab) -> None:
    liar = liar_of(lab)
    lab.hear(lab.world.avail(liar, []))
    second = lab.world.avail(liar, [sha256(b"one")])
    unsigned = msgspec.structs.replace(second.avail, signature=NO_SIGNATURE)
    lab.hear(msgspec.structs.replace(second, avail=unsigned))
    assert (kinds(lab), lab.all_of(Blame)) == ([], [])
    lab.hear(second)
    assert kinds(lab) == ["DuplicateAvail"]


def test_an_availability_vote_in_a_block_is_held_against_the_one_that_came(lab: Lab) -> None:
    world, liar = lab.world, liar_of(lab)
    lab.hear(world.avail(liar, []))
    header, body, _ = world.build()
    assert lab.node.work is not None
    lab.step(events.BodyFetched(header, body))
    assert kinds(lab) == ["DuplicateAvail"]


def test_a_header_of_another_length_is_proof_whoever_sends_it(lab: Lab) -> None:
    header = lab.world.update(liar_of(lab), payload_bytes=30)
    lab.hear(header)
    assert lab.sent(InvalidUpdate) == [invalid_header(header)]
    assert len(lab.all_of(Blame)) == 1  # An honest peer passes no such header on.
    lab.hear(msgspec.structs.replace(header, examples=99))  # Not signed by anybody.
    assert len(lab.sent(InvalidUpdate)) == 1


def test_a_forbidden_element_is_proof_as_soon_as_the_payload_is_here(lab: Lab) -> None:
    values = np.full(lab.world.genesis.manifest.size, -32768, np.int16)
    data = encode_payload(values)
    header = lab.world.update(liar_of(lab), payload_root=chunk_root(data))
    lab.hear(header)
    proof = opening(header, data, 0)
    lab.step(events.PayloadFetched(header.update_id, is_valid=False, proof=proof))
    assert lab.sent(InvalidUpdate) == [proof]
    lab.step(events.PayloadFetched(header.update_id, is_valid=False, proof=proof))
    assert len(lab.facts(EvidenceFound)) == 1


def test_a_forgotten_lock_is_proof(lab: Lab) -> None:
    proof = lab.world.amnesia(liar_of(lab))
    lab.hear(proof.prevote)
    lab.hear(proof.precommit)
    assert lab.sent(Amnesia) == [proof]


# The node tells and uses them


@pytest.mark.parametrize("number", range(7))
def test_every_kind_of_proof_is_passed_on_once(lab: Lab, number: int) -> None:
    proof = lab.world.all_evidence(liar_of(lab))[number]
    effects = lab.hear(proof)
    told = [e for e in effects if isinstance(e, Send) and e.message == proof]
    assert {peer for effect in told for peer in effect.peers} == set(lab.others) - {lab.others[0]}
    assert sent_by(lab.hear(proof, lab.others[1]), type(proof)) == []
    assert lab.all_of(Blame) == []


def test_a_peer_that_connects_is_told_the_proofs_that_it_missed(world: World) -> None:
    lab = Lab(world=world, is_learning=False)
    lab.start(connected=2)
    proof = world.double_vote(liar_of(lab))
    lab.hear(proof)
    effects = lab.step(events.PeerConnected(lab.others[2], None))
    assert Send((lab.others[2],), proof) in effects


def test_a_trainer_that_a_block_drops_for_two_updates_is_told_as_slashed(lab: Lab) -> None:
    world, liar = lab.world, liar_of(lab)
    twice = world.double_update(liar)
    headers = (*(u for u in world.updates() if u.trainer != twice.first.trainer), twice.first, twice.second)
    header, body, after = world.build(headers=headers)
    late = Lab(world=world, is_learning=False)
    late.start()
    late.hear(FAR_AHEAD, late.others[0])
    late.step(events.BlocksFetched(late.others[0], (Block(header, body, world.certify(header)),)))
    assert late.node.state.ledger.root == after.ledger.root
    assert [(f.culprit, f.kind) for f in late.facts(StakeSlashed)] == [
        (twice.first.trainer, "DUPLICATE_UPDATE")
    ]


# Forks


def forked(world: World, signers: tuple[int, ...], round_: int) -> CommitCert:
    """Return a certificate of another value at the next height."""
    votes = [
        world.sign(
            Precommit(world.state.next_height, round_, sha256(b"fork"), place, NO_SIGNATURE), world.key(place)
        )
        for place in signers
    ]
    return commit_cert(votes, world.state.validators)


@pytest.mark.parametrize("round_", [0, 3])
def test_a_second_certificate_of_the_last_height_halts_and_convicts_who_signed_both(round_: int) -> None:
    world = World(FOUR)
    other = forked(world, (0, 1, 2), round_)
    header, _, after = world.build()
    world.last_commit, world.state = world.certify(header, (1, 2, 3)), after
    lab = Lab(world=world, is_learning=False)
    lab.start()
    lab.hear(world.last_commit)
    assert lab.all_of(Halt) == []
    forged = msgspec.structs.replace(other, signatures=other.signatures[::-1])
    lab.hear(forged)
    assert lab.all_of(Halt) == []
    lab.hear(other)
    (halt,) = lab.all_of(Halt)
    assert halt.exit_code == 7
    assert "two blocks are decided at height 1" in halt.reason
    # Of different rounds the certificates alone contradict nothing: the polkas are needed.
    culprits = [fact.culprit for fact in lab.facts(EvidenceFound)]
    assert culprits == ([world.key(1).public, world.key(2).public] if round_ == 0 else [])


def test_a_fetched_block_on_another_branch_halts_and_convicts(world: World) -> None:
    other = forked(world, (0, 1, 2), 0)
    header, _, after = world.build()
    world.last_commit, world.state = world.certify(header, (1, 2, 3)), after
    lab = Lab(world=world, is_learning=False)
    lab.start()
    lab.hear(FAR_AHEAD, lab.others[0])
    header, body, _ = world.build()
    rival = msgspec.structs.replace(body, last_commit=other)
    header = msgspec.structs.replace(header, body_hash=rival.hash())
    lab.step(events.BlocksFetched(lab.others[0], (Block(header, rival, world.certify(header)),)))
    assert [halt.exit_code for halt in lab.all_of(Halt)] == [7]
    assert [fact.culprit for fact in lab.facts(EvidenceFound)] == [world.key(1).public, world.key(2).public]


def test_the_polkas_of_a_round_are_durable_before_the_next_one_begins(lab: Lab) -> None:
    world, work = lab.world, lab.node.work
    assert work is not None
    lab.wait(60_000, events.Timer("collect", 1, 0))
    votes = [
        world.sign(Prevote(1, 0, sha256(b"X"), -1, place, NO_SIGNATURE), world.key(place))
        for place in range(4)
        if world.key(place).public != lab.key.public
    ]
    for vote in votes:
        lab.hear(vote)
    assert lab.all_of(StorePolkas) == []
    for place in range(4):
        if world.key(place).public != lab.key.public:
            lab.hear(world.sign(Prevote(1, 1, None, -1, place, NO_SIGNATURE), world.key(place)))
    (stored, *_) = lab.all_of(StorePolkas)
    assert [polka.value_id for polka in stored.polkas] == [sha256(b"X")]


def test_the_polkas_of_a_height_outlive_blocks_that_were_fetched(lab: Lab) -> None:
    world = lab.world
    header, body, _ = world.build()
    votes = [world.sign(Prevote(1, 0, sha256(b"X"), -1, n, NO_SIGNATURE), world.key(n)) for n in range(4)]
    for vote in votes:
        lab.hear(vote)
    lab.hear(FAR_AHEAD)
    blocks = (Block(header, body, world.certify(header)),)
    effects = lab.step(events.BlocksFetched(lab.others[0], blocks))
    kept = [type(e) for e in effects if isinstance(e, StorePolkas | StoreBlock)]
    assert kept == [StorePolkas, StoreBlock]
    (stored,) = lab.all_of(StorePolkas)
    assert [polka.value_id for polka in stored.polkas] == [sha256(b"X")]


def test_all_evidence_is_of_a_kind_that_a_node_takes() -> None:
    assert len(Evidence.__args__) == 7
