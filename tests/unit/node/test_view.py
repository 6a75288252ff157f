"""The picture for people: where a peer stands and whom it waits for."""

from __future__ import annotations

from msgspec.structs import replace
from support.chain import World
from support.lab import Lab

from p2pfed.node.events import PayloadFetched, Timer
from p2pfed.node.view import view_of, waiting_for
from p2pfed.types.proposal import Proposal
from p2pfed.types.wire import ProposalMessage


def test_a_peer_that_collects_waits_for_the_trainers_whose_updates_are_not_here() -> None:
    lab = Lab()
    lab.start()
    view = view_of(lab.node, lab.now_ms)
    assert (view.height, view.round, view.step, view.updates_held, view.updates_expected) == (
        0,
        0,
        "collect",
        0,
        4,
    )
    assert view.waiting_for == tuple(lab.world.publics)
    update = lab.world.update(2)
    lab.hear(update)
    lab.step(PayloadFetched(update.update_id, is_valid=True))
    view = view_of(lab.node, lab.now_ms)
    assert view.updates_held == 1
    assert view.waiting_for == tuple(key for key in lab.world.publics if key != update.trainer)


def test_a_quorum_is_connected_above_two_thirds_and_not_at_them() -> None:
    lab = Lab(bonds=(10, 10, 10))
    lab.start(connected=1)
    view = view_of(lab.node, lab.now_ms)
    assert (view.connected_power, view.total_power, view.is_quorum_connected) == (20, 30, False)
    lab = Lab()
    lab.start(connected=2)
    assert view_of(lab.node, lab.now_ms).is_quorum_connected


def test_in_the_rounds_a_peer_waits_for_the_proposer_and_then_for_votes() -> None:
    world = World((10, 10, 10, 10))
    place = world.state.validators.index_of(world.proposer())
    assert place is not None
    lab = Lab(world=world, key=world.key((place + 1) % 4))
    lab.start()
    lab.wait(2_000, Timer("collect", 1, 0))
    lab.wait(60_000, Timer("collect", 1, 0))
    assert view_of(lab.node, lab.now_ms).waiting_for == (world.proposer(),)
    assert view_of(lab.node, lab.now_ms).step == "propose"
    header, _, _ = world.build()
    proposal = world.sign(Proposal(1, 0, header.value_id, -1, place, bytes(64)), world.key(place))
    lab.hear(ProposalMessage(proposal, header, None))
    lab.wait(1_000, Timer("propose", 1, 0))
    lab.wait(1_000, Timer("propose", 1, 0))
    view = view_of(lab.node, lab.now_ms)
    assert view.step == "prevote"
    assert view.waiting_for == tuple(key for key in world.publics if key != lab.key.public)


def test_a_peer_without_a_model_catches_up_and_waits_for_nobody() -> None:
    world = World((10, 10, 10, 10))
    world.advance()
    lab = Lab(world=world, state=replace(world.state, model=None))
    lab.start()
    view = view_of(lab.node, lab.now_ms)
    assert (view.height, view.step, view.waiting_for) == (1, "catching_up", ())


def test_a_network_that_ended_is_finished() -> None:
    world = World((10, 10, 10, 10), height_final=1)
    world.advance()
    lab = Lab(world=world)
    lab.start()
    view = view_of(lab.node, lab.now_ms)
    assert (view.is_finished, view.step, view.value_id) == (True, "finished", world.state.header_hash)
    assert [row.is_connected for row in view.peers] == [True] * 3


def test_the_expected_trainers_that_are_settled_are_not_waited_for() -> None:
    lab = Lab()
    lab.start()
    for trainer in range(3):
        update = lab.world.update(trainer)
        lab.hear(update)
        lab.step(PayloadFetched(update.update_id, is_valid=trainer != 1))
    assert lab.node.work is not None
    assert waiting_for(lab.node.work) == (lab.world.publics[3],)
