"""The validator set moves in whole nodes: under loss and crashes."""

from __future__ import annotations

import msgspec
import pytest

from p2pfed.chain.state import ChainState
from p2pfed.node import events
from p2pfed.node.facts import SetChanged
from p2pfed.sim import world as world_module
from p2pfed.sim.faults import Fault
from p2pfed.sim.learner import found
from p2pfed.sim.peer import SimPeer
from p2pfed.sim.scenario import Crash, Scenario
from p2pfed.sim.world import World
from p2pfed.types.block import Block
from p2pfed.types.transaction import Bond, Transaction, Unbond

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
        genesis, model = found(*given)
        params = msgspec.structs.replace(genesis.params, unbonding_heights=6, rules=("mean",))
        members = [
            msgspec.structs.replace(member, bond=0) if place == NEWCOMER else member
            for place, member in enumerate(genesis.participants)
        ]
        return msgspec.structs.replace(genesis, params=params, participants=tuple(members)), model

    monkeypatch.setattr(world_module, "found", founded)


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
