"""Each liar does the one thing that its name says, and is honest in everything else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from support.chain import World
from support.lab import FOUR, Lab

from p2pfed.adversary.base import Adversary
from p2pfed.adversary.effects import Boast, Craft, SendBytes
from p2pfed.adversary.registry import ATTACKS, KINDS, make_adversary
from p2pfed.aggregation.payload import decode_payload
from p2pfed.chain.check import check
from p2pfed.consensus.evidence import duplicate_proposal, duplicate_vote, verify_evidence
from p2pfed.errors import InvalidBlock, OutOfBounds, PeerFault
from p2pfed.node import events
from p2pfed.node.effects import Effect, ScheduleTimeout, Send, Train
from p2pfed.node.events import PayloadFetched, ProposalBuilt, Timer, Trained
from p2pfed.types.params import COORDINATE_MAX
from p2pfed.types.update import UpdateHeader
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import ProposalMessage, decode_control

POISONERS = (
    "sign_flip", "noise", "huge_norm", "concentrated", "exponent_steering", "backdoor", "free_zero",
    "free_replay", "free_noise", "sybil_clones", "garbage_payload", "wrong_shape",
)  # fmt: skip
RUSHERS = tuple(name for name, attack in ATTACKS.items() if attack.waits)


class Stage:
    """A liar around the proposer of height 1, or around another validator."""

    def __init__(self, spec: str, *, is_proposer: bool = False, colluders: Sequence[bytes] = ()) -> None:
        self.world = World(FOUR)
        place = self.world.state.validators.index_of(self.world.proposer())
        assert place is not None
        self.place = place if is_proposer else (place + 1) % 4
        self.lab = Lab(world=self.world, key=self.world.key(self.place))
        self.liar: Adversary = make_adversary(spec, self.lab.node, self.lab.key, 5, tuple(colluders))
        self.lab.node = self.liar  # type: ignore[assignment]
        self.own = self.world.update(self.world.publics.index(self.lab.key.public))
        self.row = self.world.payload(self.own)
        self.lab.start()

    def train(self, root: bytes | None = None) -> list[Effect]:
        root = root or self.own.payload_root
        return self.lab.step(Trained(0, root, self.own.payload_bytes, self.own.examples))

    def end_collect(self) -> list[Effect]:
        timer = Timer("collect", 1, 0)
        return self.lab.wait(2_000, timer) + self.lab.wait(60_000, timer)

    def propose(self) -> list[Effect]:
        """Let the liar, who proposes, build the block in which everybody trained."""
        for place in range(4):
            if place != self.place:
                self.lab.hear(self.world.avail(place, self.world.updates()))
        return self.lab.step(ProposalBuilt(1, 0, *self.world.build()))


def of(effects: Sequence[object], kind: type) -> list:
    return [effect for effect in effects if isinstance(effect, kind)]


def sends(effects: Sequence[object], kind: type) -> list[Send]:
    return [effect for effect in of(effects, Send) if isinstance(effect.message, kind)]


@pytest.mark.parametrize("kind", POISONERS)
def test_a_poisoner_keeps_its_honest_update_back_and_announces_another(kind: str) -> None:
    stage = Stage(kind)
    effects = stage.train()
    assert sends(effects, UpdateHeader) == []
    (craft,) = of(effects, Craft)
    assert (craft.own_root, craft.other_roots, craft.base_height) == (stage.own.payload_root, (), 0)
    payload = craft.craft(stage.row, ())
    assert payload != stage.row.tobytes()
    published = stage.lab.step(Trained(0, b"\7" * 32, stage.own.payload_bytes, 10))
    assert {send.message.payload_root for send in sends(published, UpdateHeader)} == {b"\7" * 32}
    assert of(published, Boast) or kind == "wrong_shape"


def crafted(kind: str) -> bytes:
    stage = Stage(kind)
    (craft,) = of(stage.train(), Craft)
    return craft.craft(stage.row, ())


def test_what_each_poisoner_publishes() -> None:
    manifest = World(FOUR).genesis.manifest
    own = Stage("silent").row
    flipped = np.clip(-4 * own.astype(int), -COORDINATE_MAX, COORDINATE_MAX)
    assert (decode_payload(crafted("sign_flip"), manifest) == flipped).all()
    assert set(decode_payload(crafted("huge_norm"), manifest).tolist()) == {COORDINATE_MAX}
    noise = decode_payload(crafted("noise"), manifest)
    assert np.linalg.norm(noise.astype(float)) > 2 * np.linalg.norm(own.astype(float))
    with pytest.raises(OutOfBounds, match="below"):
        decode_payload(crafted("garbage_payload"), manifest)
    assert len(crafted("garbage_payload")) == 2 * manifest.size
    with pytest.raises(OutOfBounds, match="bytes"):
        decode_payload(crafted("wrong_shape"), manifest)


def test_dice_repeat_for_a_liar_and_height_and_differ_between_them() -> None:
    assert crafted("noise") == crafted("noise")
    liar = Stage("noise").liar
    assert liar.dice(1).bytes(8) == liar.dice(1).bytes(8) != liar.dice(2).bytes(8)


def test_a_wrong_shape_is_signed_so_that_only_its_length_is_wrong() -> None:
    stage = Stage("wrong_shape")
    stage.train()
    effects = stage.lab.step(Trained(0, b"\7" * 32, stage.own.payload_bytes - 2, 10))
    (send,) = sends(effects, UpdateHeader)
    assert send.peers == tuple(stage.lab.others)
    assert send.message.payload_bytes == stage.own.payload_bytes - 2
    assert send.message.is_signed_by(stage.lab.key.public, stage.world.genesis.chain_id)


def hold(stage: Stage, header: UpdateHeader) -> list[Effect]:
    effects = stage.lab.hear(header)
    return effects + stage.lab.step(PayloadFetched(header.update_id, is_valid=True))


def honest_updates(stage: Stage) -> list[UpdateHeader]:
    friends = {stage.lab.key.public, *stage.liar.colluders}
    return [header for header in stage.world.updates() if header.trainer not in friends]


@pytest.mark.parametrize("kind", RUSHERS)
def test_who_needs_the_honest_updates_waits_for_them_and_sends_a_valid_one(kind: str) -> None:
    stage = Stage(kind)
    assert of(stage.train(), Craft) == []
    for header in honest_updates(stage):
        effects = hold(stage, header)
    (craft,) = of(effects, Craft)
    rows = [stage.world.payload(header) for header in honest_updates(stage)]
    row = decode_payload(craft.craft(stage.row, rows), stage.world.genesis.manifest)
    assert not np.array_equal(row, stage.row)
    assert any(np.array_equal(row, honest) for honest in rows) == (kind == "mimic")


def test_a_stale_replay_begins_with_the_second_height_and_says_an_old_update_again() -> None:
    stage = Stage("stale_replay:age=1")
    (craft,) = of(stage.train(), Craft)
    later = (stage.row // 2).astype(np.int16)
    assert craft.craft(stage.row, ()) == craft.craft(later, ()) == stage.row.tobytes()
    assert craft.craft(stage.row, ()) == later.tobytes()


def test_alie_waits_for_every_honest_update_and_uses_them_all() -> None:
    stage = Stage("alie")
    assert of(stage.train(), Craft) == []
    *first, last = honest_updates(stage)
    for header in first:
        assert of(hold(stage, header), Craft) == []
    (craft,) = of(hold(stage, last), Craft)
    assert sorted(craft.other_roots) == sorted(header.payload_root for header in (*first, last))
    rows = [stage.world.payload(header) for header in (*first, last)]
    matrix = np.stack(rows).astype(float)
    expected = np.rint(matrix.mean(axis=0) - 1.5 * matrix.std(axis=0))
    assert (decode_payload(craft.craft(stage.row, rows), stage.world.genesis.manifest) == expected).all()
    assert "3 honest ones" in stage.lab.all_of(Boast)[-1].detail


def test_alie_does_not_wait_for_its_friends() -> None:
    friend = World(FOUR).publics
    stage = Stage("alie", colluders=friend[:2])
    stage.train()
    for header in honest_updates(stage):
        effects = hold(stage, header)
    (craft,) = of(effects, Craft)
    assert len(craft.other_roots) == len(honest_updates(stage))


def test_alie_waits_as_long_as_the_honest_do_while_no_more_than_two_thirds_are_in() -> None:
    stage = Stage("alie")
    stage.train()
    for header in honest_updates(stage)[:-1]:
        hold(stage, header)
    stage.lab.wait(400, Timer("collect", 1, 0))
    assert of(stage.lab.effects, Craft) == []


def test_alie_in_a_larger_network_crafts_at_half_of_the_grace() -> None:
    stage = Stage.__new__(Stage)
    stage.world = World((10,) * 7)
    stage.lab = Lab(bonds=(10,) * 7, world=stage.world, key=stage.world.key(0))
    stage.liar = make_adversary("alie", stage.lab.node, stage.lab.key, 5, ())
    stage.lab.node = stage.liar  # type: ignore[assignment]
    stage.own = stage.world.update(0)
    stage.lab.start(connected=6)
    stage.train()
    updates = honest_updates(stage)
    for header in updates[:-1]:
        effects = hold(stage, header)
    (timer,) = [effect for effect in of(effects, ScheduleTimeout) if effect.delay_ms == 100]
    assert of(stage.lab.effects, Craft) == []
    (craft,) = of(stage.lab.wait(100, timer.timer), Craft)
    assert len(craft.other_roots) == 5
    assert "1 were late" in stage.lab.all_of(Boast)[-1].detail


def test_alie_throws_its_honest_update_away_when_the_height_went_by() -> None:
    stage = Stage("alie")
    stage.train()
    for header in stage.world.updates():
        if header.trainer != stage.lab.key.public:
            stage.lab.hear(header)
    stage.liar.node.work = None
    assert of(stage.lab.gossip(), Craft) == []
    assert of(stage.lab.gossip(), Craft) == []


def test_a_withheld_payload_is_announced_and_never_served() -> None:
    stage = Stage("withheld_payload")
    assert not stage.liar.withholds(stage.own.payload_root)
    effects = stage.train()
    assert sends(effects, UpdateHeader)
    assert stage.liar.withholds(stage.own.payload_root)
    assert not stage.liar.withholds(bytes(32))


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"withheld_payload"}))
def test_every_other_liar_serves_all_it_has(kind: str) -> None:
    stage = Stage(kind)
    stage.train()
    assert not stage.liar.withholds(stage.own.payload_root)


def test_a_silent_peer_trains_and_listens_and_says_nothing() -> None:
    stage = Stage("silent")
    effects = stage.train() + stage.end_collect() + stage.lab.gossip()
    assert of(stage.lab.effects, Train)
    assert of(stage.lab.effects, Send) == []
    assert of(effects, Boast)
    assert of(effects, ScheduleTimeout)


@pytest.mark.parametrize(("kind", "is_real"), [(Prevote, True), (Prevote, False)])
def test_two_votes_are_both_signed_and_each_half_hears_one(kind: type, is_real: bool) -> None:
    stage = Stage("double_vote", is_proposer=is_real)
    effects = (
        stage.propose() if is_real else [*stage.end_collect(), *stage.lab.wait(1_000, Timer("propose", 1, 0))]
    )
    first, second = sends(effects, kind)[:2]
    assert sorted((*first.peers, *second.peers)) == sorted(stage.lab.others)
    assert not set(first.peers) & set(second.peers)
    assert first.peers
    assert second.peers
    validators = stage.world.state.validators
    index = verify_evidence(
        duplicate_vote(first.message, second.message), validators, stage.world.genesis.chain_id
    )
    assert index == stage.place
    assert (first.message.value_id is None) != is_real
    assert any("Prevote" in boast.detail for boast in of(effects, Boast))


def test_a_double_voter_says_everything_else_once_and_to_all() -> None:
    stage = Stage("double_vote", is_proposer=True)
    effects = stage.propose()
    (send,) = sends(effects, ProposalMessage)
    assert send.peers == tuple(stage.lab.others)


def test_votes_of_others_are_passed_on_as_they_are() -> None:
    stage = Stage("double_vote")
    stage.lab.step(events.PeerDisconnected(stage.lab.others[2]))
    other = next(place for place in range(4) if place != stage.place)
    vote = stage.world.sign(Precommit(1, 0, None, other, bytes(64)), stage.world.key(other))
    assert {send.message for send in sends(stage.lab.hear(vote), Precommit)} <= {vote}


def test_two_proposals_are_both_signed_and_each_half_hears_one() -> None:
    stage = Stage("equivocating_proposer", is_proposer=True)
    effects = stage.propose()
    first, second = sends(effects, ProposalMessage)
    assert sorted((*first.peers, *second.peers)) == sorted(stage.lab.others)
    evidence = duplicate_proposal(first.message.proposal, second.message.proposal)
    chain_id = stage.world.genesis.chain_id
    assert verify_evidence(evidence, stage.world.state.validators, chain_id) == stage.place
    assert second.message.header.value_id == second.message.proposal.value_id
    assert len(sends(effects, Prevote)) == 1


def test_a_false_aggregate_fits_all_its_roots_and_only_a_recomputation_finds_it() -> None:
    stage = Stage("wrong_aggregate", is_proposer=True)
    world = stage.world
    header, body, after = world.build()
    effects = stage.propose()
    (send,) = sends(effects, ProposalMessage)
    false = send.message.header
    changed = {name for name in header.__struct_fields__ if getattr(false, name) != getattr(header, name)}
    assert changed == {"aggregate_root", "model_root"}
    with pytest.raises(InvalidBlock, match="aggregate_root"):
        check(world.state, false, body, world.payload)
    work = stage.liar.node.work
    assert work is not None
    value = work.values.get(false.value_id)
    assert value is not None
    assert value.state is not None
    assert value.state.model is not None
    assert after.model is not None
    difference = value.state.model.weights - after.model.weights
    assert difference.tolist() == [1] + [0] * (world.genesis.manifest.size - 1)
    assert value.state.model.root == false.model_root


def test_a_false_aggregate_needs_a_block_that_merges() -> None:
    stage = Stage("wrong_aggregate", is_proposer=True)
    for place in range(4):
        if place != stage.place:
            stage.lab.hear(stage.world.avail(place, []))
    built = stage.world.build(headers=(), avails=stage.world.avails([]))
    assert built[0].is_empty
    effects = stage.lab.step(ProposalBuilt(1, 0, *built))
    assert [send.message.header for send in sends(effects, ProposalMessage)] == [built[0]]
    assert of(effects, Boast) == []


def test_garbage_bytes_stand_in_for_every_message_and_most_are_none() -> None:
    stage = Stage("garbage_bytes")
    stage.lab.hear(stage.world.update(0))
    for _ in range(7):
        stage.lab.gossip()
    assert stage.lab.all_of(Send) == []
    assert stage.lab.all_of(SendBytes)[-1].peers == tuple(stage.lab.others)
    refused, read = set(), set()
    for send, boast in zip(stage.lab.all_of(SendBytes), stage.lab.all_of(Boast), strict=True):
        try:
            decode_control(send.data)
        except PeerFault:
            refused.add(boast.detail)
        else:
            read.add(boast.detail)
    assert len(refused | read) == 7
    assert read == {"sent a forged vote", "sent a message of somebody else, again"}


def test_garbage_is_sent_though_nothing_was_heard_yet() -> None:
    lab = Lab()
    liar = make_adversary("garbage_bytes", lab.node, lab.key, 5, ())
    lab.node = liar  # type: ignore[assignment]
    lab.start(connected=0)
    for _ in range(8):
        assert of(lab.gossip(), SendBytes)


def test_the_memory_of_a_garbage_sender_is_bounded() -> None:
    stage = Stage("garbage_bytes")
    for trainer in range(4):
        for seed in range(40):
            stage.lab.hear(stage.world.update(trainer, seed=seed))
    assert len(stage.liar._heard) == 64  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"twins"}))  # To be two is a sin in each step.
def test_what_is_not_its_sin_passes_through(kind: str) -> None:
    stage, honest = Stage(kind), Lab(world=World(FOUR), key=Stage(kind).lab.key)
    honest.start()
    update = stage.world.update(0)
    ours, theirs = stage.lab.hear(update), honest.hear(update)
    assert [type(effect) for effect in ours] == [type(effect) for effect in theirs]
