"""A light client follows what simulated peers decided, across a change of the set, to the same blocks."""

from __future__ import annotations

from functools import partial

import pytest
from support.light import follow

from p2pfed.chain.light import rules_of, trusted_block, trusted_genesis
from p2pfed.chain.proofs import account_key, find_account, find_stake, prove_leaf, stake_key
from p2pfed.sim.faults import Fault
from p2pfed.sim.peer import SimPeer
from p2pfed.sim.scenario import Scenario
from p2pfed.sim.world import World
from p2pfed.types.light import LightBlock

HEIGHTS, HONEST = 8, 3


def shown(peer: SimPeer, height: int) -> LightBlock:
    """Return a block as the peer would serve it to a light client."""
    blocks = peer.serve_blocks(height)
    assert blocks
    state = peer.node.state
    validators, following = state.validators_at(height), state.validators_at(height + 1)
    assert validators is not None
    assert following is not None
    return LightBlock(blocks[0].header, blocks[0].commit, validators, following)


@pytest.mark.parametrize("kind", ["double_vote", "equivocating_proposer", "silent"])
def test_a_light_client_agrees_with_every_peer_wherever_it_starts(kind: str) -> None:
    world = World(
        Scenario(heights=HEIGHTS, byzantine=(kind,), faults=(Fault("loss", 0, 2_000, permille=100),), seed=3)
    )
    assert world.run().violations == ()
    genesis = world.peers[0].node.state.genesis
    rules, now_ms = rules_of(genesis), shown(world.peers[0], HEIGHTS).header.time_ms
    decided = {height: shown(world.peers[0], height).header.value_id for height in range(1, HEIGHTS + 1)}
    for peer in world.peers[:HONEST]:
        starts = [trusted_genesis(genesis), *(trusted_block(shown(peer, height)) for height in decided)]
        for start in starts:
            for target in range(start.height + 1, HEIGHTS + 1):
                trusted, verified, _ = follow(partial(shown, peer), start, target, now_ms, rules)
                assert trusted.value_id == decided[target]
                assert all(block.header.value_id == decided[block.header.height] for block in verified)
        state = peer.node.state
        assert state.header is not None
        for account in state.ledger.accounts.accounts:
            proof = prove_leaf(state.ledger, account_key(account.key))
            assert find_account(proof, state.header, account.key) == account
            proof = prove_leaf(state.ledger, stake_key(account.key))
            assert find_stake(proof, state.header, account.key) == state.ledger.stake(account.key)
