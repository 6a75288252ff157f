"""The validator set moves in whole nodes: under loss and crashes."""

from __future__ import annotations

import msgspec
import pytest

from p2pfed.chain.state import ChainState
from p2pfed.ledger import stake as stake_rules
from p2pfed.ledger.modules import staking
from p2pfed.node import events
from p2pfed.node.facts import BlockCommitted, SetChanged, ValidatorJailed
from p2pfed.sim.expect import Expect
from p2pfed.sim.faults import Fault
from p2pfed.sim.learner import DIGITS, Learners
from p2pfed.sim.peer import SimPeer
from p2pfed.sim.scenario import Crash, Scenario
from p2pfed.sim.world import World
from p2pfed.types.block import Block
from p2pfed.types.transaction import Bond, Transaction, Unbond, Unjail

NEWCOMER, LEAVER = 4, 1
UNSIGNED = bytes(64)


class Movers(World):
    """A world whose operators want something of the ledger, and ask again until a block has it.

    wishes: Of each peer: (from which height on, the transaction for a key and nonce), one after the other.
    """

    wishes: dict[int, list[tuple[int, type[Transaction], tuple[int, ...]]]]

    def stored(self, peer: SimPeer, block: Block, state: ChainState) -> None:
        super().stored(peer, block, state)
        account, wishes = state.ledger.account(peer.public), self.wishes.get(peer.number, [])
        if account is None or account.nonce >= len(wishes):
            return
        height, kind, amounts = wishes[account.nonce]
        if state.height >= height:
            unsigned = kind(peer.public, *amounts, 0, account.nonce, UNSIGNED)
            signature = peer.key.sign(unsigned.digest(self.genesis.chain_id))
            transaction = msgspec.structs.replace(unsigned, signature=signature)
            peer.later(1, lambda: peer.handle(events.TransactionSubmitted(transaction)))


@pytest.fixture(autouse=True)
def _short_periods(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fifth member has an account only; sets are forgotten soon if time lets them; any rule merges."""

    def founded(*given):  # type: ignore[no-untyped-def]
        genesis, model = Learners.found(DIGITS, *given)
        params = msgspec.structs.replace(genesis.params, unbonding_heights=6, rules=("mean",))
        members = [
            msgspec.structs.replace(member, bond=0) if place == NEWCOMER else member
            for place, member in enumerate(genesis.participants)
        ]
        return msgspec.structs.replace(genesis, params=params, participants=tuple(members)), model

    monkeypatch.setattr(DIGITS, "found", founded)


def changes(world: World) -> dict[int, SetChanged]:
    """Return the changes of the set that the first peer tells of, by height; all others tell the same."""
    told = [
        {fact.height: fact for _, by, fact in world.facts if by == peer and isinstance(fact, SetChanged)}
        for peer in range(len(world.peers))
    ]
    merged = {height: fact for of_peer in told for height, fact in of_peer.items()}
    assert all(merged[height] == fact for of_peer in told for height, fact in of_peer.items())
    return merged


def test_a_validator_joins_and_another_leaves_under_loss_and_crashes() -> None:
    scenario = Scenario(
        peers=5,
        heights=10,
        faults=(Fault("loss", 0, 3_000, permille=100),),
        crashes=(Crash(NEWCOMER, 90, 500), Crash(LEAVER, 130, 500), Crash(0, 170, 500)),
    )
    world = Movers(scenario)
    world.wishes = {NEWCOMER: [(2, Bond, (400,)), (4, Unbond, (100,))], LEAVER: [(3, Unbond, (400,))]}
    result = world.run()
    assert result.violations == ()
    assert world.crashes == 3
    moved = changes(world)
    joined = [fact for fact in moved.values() if fact.joined == (world.peers[NEWCOMER].public,)]
    assert [fact.from_height - fact.height for fact in joined] == [2]
    state = world.peers[0].node.state
    powers = {validator.key: validator.power for validator in state.validators.validators}
    assert powers[world.peers[NEWCOMER].public] == 300
    assert powers[world.peers[LEAVER].public] == 600
    stake = state.ledger.stake(world.peers[LEAVER].public)
    assert stake is not None
    assert (stake.bond, stake.total) == (600, 1000)  # What waits can still be slashed.


class Absent(World):
    """A world in which whoever is jailed asks to vote again as soon as that is allowed."""

    def stored(self, peer: SimPeer, block: Block, state: ChainState) -> None:
        super().stored(peer, block, state)
        stake, account = state.ledger.stake(peer.public), state.ledger.account(peer.public)
        if stake is None or account is None or not stake.jailed_at or account.nonce:
            return
        if state.next_height >= stake.jailed_at + staking.JAIL_HEIGHTS:
            unsigned = Unjail(peer.public, 0, account.nonce, UNSIGNED)
            signature = peer.key.sign(unsigned.digest(self.genesis.chain_id))
            unjail = msgspec.structs.replace(unsigned, signature=signature)
            peer.later(1, lambda: peer.handle(events.TransactionSubmitted(unjail)))


def test_who_misses_too_much_is_jailed_at_no_cost_and_comes_back_by_unjail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the rules of production, with shorter periods: 9 of 16 heights, then 3."""
    monkeypatch.setattr(stake_rules, "ABSENCES_MAX", 8)
    monkeypatch.setattr(stake_rules, "PRESENCE_HEIGHTS", 16)
    monkeypatch.setattr(staking, "JAIL_HEIGHTS", 3)
    away, last = 3, 26
    scenario = Scenario(
        peers=5,
        heights=last,
        stakes=(1000, 1000, 1000, 300, 1000),
        faults=(Fault("disconnect", 200, 6_000, (away,)), Fault("loss", 0, 3_000, permille=50)),
        expect=Expect(convicted=()),
    )
    world = Absent(scenario)
    assert world.run().violations == ()
    key = world.peers[away].public
    jails = {fact.height for _, _, fact in world.facts if isinstance(fact, ValidatorJailed)}
    assert {fact.validator for _, _, fact in world.facts if isinstance(fact, ValidatorJailed)} == {key}
    assert len(jails) == 1
    moved = [fact for fact in changes(world).values() if key in (*fact.left, *fact.joined)]
    assert [(fact.left, fact.joined) for fact in moved] == [((key,), ()), ((), (key,))]
    assert moved[0].height == jails.pop()
    assert moved[1].height >= moved[0].height + 3
    back = [
        fact
        for _, peer, fact in world.facts
        if peer == away and isinstance(fact, BlockCommitted) and fact.height >= moved[1].from_height
    ]
    assert any(not fact.caught_up for fact in back)  # It works on heights again.
    stake = world.peers[0].node.state.ledger.stake(key)
    assert stake is not None
    assert (stake.bond, stake.jailed_at) == (300, 0)
