"""The checkers of whole peers see: the product is broken on purpose, and a run turns red."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from p2pfed.chain import check, derive, propose
from p2pfed.chain.state import ChainState
from p2pfed.consensus.engine import Engine
from p2pfed.consensus.signer import SignRecord
from p2pfed.ledger.module import Burn
from p2pfed.ledger.modules import accounts
from p2pfed.node.facts import EvidenceFound
from p2pfed.sim.chain_checkers import ChainCheckers
from p2pfed.sim.checkers import Checkers
from p2pfed.sim.disk import Disk
from p2pfed.sim.expect import Expect
from p2pfed.sim.faults import Fault
from p2pfed.sim.peer import SimPeer
from p2pfed.sim.scenario import Crash, Scenario
from p2pfed.sim.signatures import Signatures, votes_of
from p2pfed.sim.world import World
from p2pfed.types.model import ModelState
from p2pfed.types.vote import Precommit, Prevote


def first_violation(**shape: Any) -> str:
    violations = World(Scenario(**{"heights": 2, **shape})).run().violations
    return violations[0] if violations else ""


def test_a_merge_that_all_peers_get_wrong_alike_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    merge = derive.merge

    def wrong(*arguments: Any, **options: Any) -> Any:
        result = merge(*arguments, **options)
        weights = result.model.weights.copy()
        weights[3] += 1
        model = ModelState(weights, result.model.update_exponents, result.model.model_exponents)
        return type(result)(result.rule, result.aggregate, model)

    monkeypatch.setattr(derive, "merge", wrong)
    assert "block 1 is not what its updates make: its model is" in first_violation()


def test_an_update_set_that_all_peers_get_wrong_alike_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    supported = check.supported_ids
    for module in (check, propose):
        monkeypatch.setattr(module, "supported_ids", lambda *given: supported(*given)[:-1])
    assert "3 updates, 4 have the support of a third" in first_violation()


def test_an_update_that_is_left_out_by_all_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    supported = check.supported_ids
    for module in (check, propose):
        monkeypatch.setattr(module, "supported_ids", lambda *given: supported(*given)[:-1])
    monkeypatch.setattr("p2pfed.sim.chain_checkers.objection", lambda *_: "")
    assert "that all honest held" in first_violation()


def test_stake_that_vanishes_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    run = accounts.execute

    def burns_without_a_trace(payload: Any, *rest: Any) -> Any:
        state, calls = run(payload, *rest)
        return (msgspec.structs.replace(state, burned=0) if isinstance(payload, Burn) else state), calls

    monkeypatch.setattr(accounts, "execute", burns_without_a_trace)
    violations = World(Scenario(heights=8, byzantine=("double_vote",))).run().violations
    assert any(re.match(r"stake of 8000 and pay of 0 became \d+ at height", text) for text in violations)


def test_a_certificate_that_a_light_client_refuses_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = ChainCheckers.stored

    def half_signed(self: Any, block: Any, state: Any) -> None:
        commit = msgspec.structs.replace(block.commit, bitmap=b"\3", signatures=block.commit.signatures[:2])
        stored(self, msgspec.structs.replace(block, commit=commit), state)

    monkeypatch.setattr(ChainCheckers, "stored", half_signed)
    assert "a light client refuses block 1" in first_violation()


def test_a_lock_that_is_lost_is_seen() -> None:
    checkers = Checkers({b"key": 0})

    def peer(height: int, locked_round: int) -> Any:
        engine = SimpleNamespace(locked_round=locked_round)
        work = SimpleNamespace(height=height, engine=engine)
        return SimpleNamespace(public=b"key", is_up=True, node=SimpleNamespace(work=work))

    for place in ((1, -1), (1, 0), (1, 2), (2, -1), (2, 1)):
        checkers.after(peer(*place))
    assert checkers.violations == []
    checkers.after(peer(2, 0))
    assert checkers.violations == ["peer 0: its lock of height 2 went from round 1 to 0"]
    checkers.after(peer(1, 0))
    assert checkers.violations[1:] == ["peer 0: it went back from height 2 to 1"]


def test_a_peer_that_comes_back_without_its_lock_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = Fault("filter", 0, 3_000, (0, 1, 2, 3), messages=("precommit", "commit"))
    shape = {"faults": (deaf,), "crashes": (Crash(0, 80, 100),)}
    assert first_violation(**shape) == ""
    load, start, open_log = Disk.load_record, SimPeer.start, SimPeer._open_log

    def forgetful(self: Disk) -> SignRecord:
        return msgspec.structs.replace(load(self), lock_round=-1, lock_cert=None, lock_header=None)

    def log_unread(self: SimPeer, state: ChainState) -> tuple[()]:
        open_log(self, state)
        return ()

    def start_forgetful(self: SimPeer) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Disk, "load_record", forgetful)
            start(self)

    monkeypatch.setattr(SimPeer, "start", start_forgetful)
    monkeypatch.setattr(SimPeer, "_open_log", log_unread)  # It remembers the lock too.
    assert first_violation(**shape) == "peer 0: its lock of height 1 went from round 0 to -1"


def test_memory_without_bound_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "votes_held", property(lambda _: 10_000))
    assert "it keeps 10000 votes, more than" in first_violation(faults=(Fault("kill", 1, 50, (3,)),))


def test_evidence_against_an_honest_peer_is_seen() -> None:
    world = World(Scenario())
    accuser, victim = world.peers[:2]
    world.judge.observed(accuser, EvidenceFound(1, victim.public, "DuplicateVote"))
    assert world.judge.violations == ["peer 0: it accuses honest peer 1 of DuplicateVote"]


def test_an_honest_key_that_can_be_convicted_is_seen_though_nobody_accused_it() -> None:
    world = World(Scenario())
    for value_id in (bytes(32), None):
        vote = Precommit(1, 0, value_id, 2, bytes(64))
        forged = msgspec.structs.replace(vote, validator_index=1)  # Its signature is another's.
        key, chain_id = world.peers[2].key, world.genesis.chain_id
        for said in (vote, forged):
            signed = msgspec.structs.replace(said, signature=key.sign(said.digest(chain_id)))
            world.judge._signatures.add(signed, world.genesis.validators)
    assert world.judge.convict() is None
    assert world.judge.violations == ["peer 2 is honest and can be convicted at 1"]


def test_a_certificate_counts_as_the_votes_in_it() -> None:
    world = World(Scenario(heights=1))
    assert world.run().violations == ()
    block = world.peers[0].disk.block(1)
    assert block is not None
    signers = votes_of(block.commit, world.genesis.validators)
    pile, chain_id = Signatures(world.genesis.chain_id), world.genesis.chain_id
    pile.add(block.commit, world.genesis.validators)
    for vote in signers:
        key = world.peers[vote.validator_index].key
        prevote = Prevote(1, 3, bytes(32), -1, vote.validator_index, bytes(64))
        signed = msgspec.structs.replace(prevote, signature=key.sign(prevote.digest(chain_id)))
        pile.add(signed, world.genesis.validators)
    convicted = pile.convicted(1)
    assert {kind for kinds in convicted.values() for kind in kinds} == {"E2"}
    assert len(convicted) == len(signers) >= 3
    assert pile.convicting_power(1, world.genesis.validators) == 1_000 * len(signers)


def test_what_a_scenario_expects_is_held_against_the_run() -> None:
    assert "2 blocks are final where 0 to 1 are expected" in first_violation(expect=Expect(heights=(0, 1)))
    wrong = first_violation(expect=Expect(convicted=(3,)))
    assert wrong == "peers [] are convicted where [3] are expected"


def test_the_weights_of_a_run_are_what_its_numbers_say() -> None:
    assert World(Scenario(stakes=(5, 6, 7, 8))).genesis.validators.total_power == 26
    assert not Scenario(stakes=(5, 5, 5, 8), byzantine=("silent",)).is_safe
    assert Scenario(stakes=(5, 5, 5, 7), byzantine=("silent",)).is_safe
    assert np.array_equal(Scenario(faults=(Fault("old_image", 0, 5, (1,)),)).faulty, [1])
