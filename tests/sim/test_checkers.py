"""Each law of a run is shown broken once: a checker that never fails would check nothing."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace
from support.chain import World, private_keys, small_model

from p2pfed.consensus.signer import SignAvail, Signed, SignPrevote, decide, initial_record
from p2pfed.errors import BadSignature, WrongHeight
from p2pfed.node.signing import SigningHand
from p2pfed.sim.checkers import Checkers
from p2pfed.sim.disk import Disk
from p2pfed.sim.power import PowerCut, Switch
from p2pfed.sim.scenario import Crash, Scenario
from p2pfed.sim.world import run
from p2pfed.types.block import Block
from p2pfed.types.peer import PeerRecord
from p2pfed.types.vote import Prevote

PEER = PeerRecord(private_keys(1)[0].public, 1, (), bytes(64))


@pytest.fixture
def world() -> World:
    return World((10, 10, 10, 10))


@pytest.fixture
def checkers(world: World) -> Checkers:
    return Checkers({public: number for number, public in enumerate(world.publics)})


def test_two_blocks_of_one_height_are_a_fork(world: World, checkers: Checkers) -> None:
    first, second = world.build(), world.build(headers=())
    for peer, (header, body, after) in zip(world.publics, (first, second), strict=False):
        checkers.stored(peer, Block(header, body, world.certify(header)), after)
    assert len(checkers.violations) == 1
    assert "peer 1: a fork at height 1" in checkers.violations[0]


def test_a_model_that_is_not_the_agreed_one_is_seen(world: World, checkers: Checkers) -> None:
    header, body, after = world.build()
    wrong = replace(after, model=small_model())
    checkers.stored(world.publics[0], Block(header, body, world.certify(header)), wrong)
    assert "is not the one that was agreed" in checkers.violations[0]


def test_a_chain_with_a_gap_in_its_hashes_is_seen(world: World, checkers: Checkers) -> None:
    peer = world.publics[0]
    checkers.stored(peer, world.advance(), world.state)
    block = world.advance()
    stray = Block(msgspec.structs.replace(block.header, prev_header_hash=bytes(32)), block.body, block.commit)
    checkers.stored(peer, stray, world.state)
    assert checkers.violations == ["peer 0: block 2 does not follow block 1"]


def test_a_conviction_of_an_honest_peer_is_seen(world: World, checkers: Checkers) -> None:
    culprit = world.key(2).public
    block = world.advance(evidence=(world.double_vote(2),))
    checkers.stored(world.publics[0], block, world.state)
    assert checkers.violations == [
        f"peer {world.publics.index(culprit)}: it is honest and was convicted of E1"
    ]


def speak(world: World, checkers: Checkers, disk: Disk, vote: Prevote) -> None:
    checkers.speaks(world.key(1).public, vote, world.state, disk)


def vote_of(world: World, value_id: bytes | None) -> Prevote:
    return world.sign(Prevote(1, 0, value_id, -1, 1, bytes(64)), world.key(1))


def remembering(world: World, value_id: bytes | None) -> Disk:
    disk = Disk(world.genesis, small_model())
    request = SignPrevote(1, 0, value_id, -1, 1)
    decision = decide(initial_record(), request, world.key(1), world.genesis.chain_id)
    assert isinstance(decision, Signed)
    disk.save_record(decision.record)
    return disk


def test_two_words_at_one_place_are_seen_also_in_two_lives(world: World, checkers: Checkers) -> None:
    speak(world, checkers, remembering(world, None), vote_of(world, None))
    speak(world, checkers, remembering(world, None), vote_of(world, None))
    assert checkers.violations == []
    speak(world, checkers, remembering(world, bytes(32)), vote_of(world, bytes(32)))
    assert "it signed twice at ('prevote', 1, 0)" in checkers.violations[0]


def test_a_word_that_is_not_on_disk_yet_is_seen(world: World, checkers: Checkers) -> None:
    speak(world, checkers, Disk(world.genesis, small_model()), vote_of(world, None))
    assert "before that was durable" in checkers.violations[0]


def test_a_word_that_was_durable_once_may_be_said_when_somebody_listens(
    world: World, checkers: Checkers
) -> None:
    disk, peer = remembering(world, None), world.key(1).public
    checkers.persisted(peer, disk.load_record())
    later = decide(disk.load_record(), SignPrevote(1, 1, None, -1, 1), world.key(1), world.genesis.chain_id)
    assert isinstance(later, Signed)
    disk.save_record(later.record)
    checkers.persisted(peer, disk.load_record())
    speak(world, checkers, disk, vote_of(world, None))
    assert checkers.violations == []


def test_words_of_others_that_are_passed_on_are_not_our_own(world: World, checkers: Checkers) -> None:
    checkers.speaks(
        world.key(0).public, vote_of(world, None), world.state, Disk(world.genesis, small_model())
    )
    assert checkers.violations == []


def test_a_record_that_goes_back_is_seen(world: World, checkers: Checkers) -> None:
    key, record = world.key(1), initial_record()
    for height in (1, 2):
        decision = decide(record, SignPrevote(height, 0, None, -1, 1), key, world.genesis.chain_id)
        assert isinstance(decision, Signed)
        checkers.persisted(key.public, decision.record)
    checkers.persisted(key.public, record)
    assert "went back from (2, 0, 2)" in checkers.violations[0]


def test_blame_between_the_honest_is_seen_but_for_a_wrong_height(world: World, checkers: Checkers) -> None:
    first, second = world.publics[:2]
    checkers.blamed(first, second, WrongHeight("late"))
    checkers.blamed(first, b"a liar", BadSignature("forged"))
    assert checkers.violations == []
    checkers.blamed(first, second, BadSignature("forged"))
    assert checkers.violations == ["peer 0: it blames honest peer 1: forged"]


@pytest.mark.parametrize(
    ("point", "kept"),
    [("peers.begin", 0), ("peers.written", 0), ("peers.renamed", None), ("peers.durable", 1)],
)
def test_a_disk_loses_what_was_not_synced_by_chance_and_keeps_the_rest(
    world: World, point: str, kept: int | None
) -> None:
    disk = Disk(world.genesis, small_model())
    disk.save_record(remembering(world, None).load_record())
    root = disk.put(b"blob")
    disk.save_block(world.advance(), world.state)
    disk.watch(Switch([(point, 0, 0)]).pass_point)
    with pytest.raises(PowerCut):
        disk.save_peers((PEER,))
    disk.lose()
    assert len(disk.load_peers()) == kept or (kept is None and disk.load_peers() in ((), (PEER,)))
    assert disk.load_record().prevote is not None
    assert disk.blob(root) == b"blob"
    state, commit = disk.recover()
    assert (state.height, state.header_hash, commit) == (1, world.state.header_hash, world.last_commit)


def test_a_disk_serves_the_models_of_eight_heights(world: World) -> None:
    disk = Disk(world.genesis, small_model())
    headers = []
    for _ in range(9):
        block = world.advance()
        headers.append(block.header)
        disk.save_block(block, world.state)
    assert disk.load_model(headers[0].model_root, headers[0].exponents_root) is None
    assert disk.load_model(headers[1].model_root, headers[1].exponents_root) is not None
    assert disk.load_model(small_model().root, small_model().exponents_root) is not None


def test_a_node_that_speaks_before_it_persists_is_caught_by_the_simulator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def hasty(self: SigningHand, request: SignAvail) -> object:
        decision = decide(self.record, request, self._key, self._chain_id)
        if isinstance(decision, Signed):
            self.record = decision.record
            return decision.message
        return None

    monkeypatch.setattr(SigningHand, "sign", hasty)
    violations = run(Scenario(heights=1, crashes=(Crash(0, 30, 100),))).violations
    assert violations
    assert "before that was durable" in violations[0]
