"""A block is valid only as it was built: no field of it can be another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from support.chain import World
from support.mutate import mutations, rearrangements

from p2pfed.aggregation.engine import Merge
from p2pfed.chain.check import Known, check, check_body, convictions_of, verify_body
from p2pfed.chain.derive import derive, merge_updates, merged_roots, rule_for, unchanged_roots
from p2pfed.chain.state import ChainState
from p2pfed.chain.update_set import update_set
from p2pfed.errors import InvalidBlock, InvalidTransaction, MalformedMessage
from p2pfed.ledger.execute import receipts_root
from p2pfed.primitives import codec
from p2pfed.primitives.digest import tagged
from p2pfed.primitives.keys import has_valid_signature
from p2pfed.primitives.merkle import root
from p2pfed.types import message
from p2pfed.types.availability import AvailMessage, listed_ids, signed_avail
from p2pfed.types.block import Body, Header
from p2pfed.types.model import ModelState
from p2pfed.types.update import UpdateHeader

NETWORKS = [[100, 100, 100, 100], [90, 100, 110, 120, 130, 140, 150]]


def rich_world(bonds: Sequence[int]) -> tuple[World, Header, Body, ChainState]:
    """Return a network at height 2 and a block with something in every field of its body."""
    world = World(bonds)
    world.advance()
    header, body, after = world.build(
        transactions=(world.transfer(0, 1, 5, 3, 0), world.transfer(0, 2, 5, 3, 1)),
        evidence=(world.double_vote(0), world.double_proposal(1)),
    )
    return world, header, body, after


def forged(world: World, header: Header, body: Body) -> Header:
    """Return the header that the best liar writes for a changed body: right wherever it can be."""
    lists = {
        "avail_root": body.avails,
        "updates_root": body.updates,
        "transactions_root": body.transactions,
        "evidence_root": body.evidence,
    }
    roots = {name: root([codec.encode(item) for item in items]) for name, items in lists.items()}
    patched = msgspec.structs.replace(
        header,
        **roots,
        receipts_root=receipts_root(len(body.transactions)),
        prev_commit_hash=tagged("commit", codec.encode(body.last_commit)) if body.last_commit else bytes(32),
        body_hash=body.hash(),
    )
    state, updates = world.state, update_set(body.updates, header.round0)
    try:
        rule = rule_for(state, updates)
        rows = [world.payloads[update.update_id] for update in updates.updates]
        merged = (
            merged_roots(merge_updates(state, updates, rule, rows, map)) if rule else unchanged_roots(state)
        )
        convictions = convictions_of(state, body.evidence)
        liar, _ = derive(
            state, body, updates, convictions, proposer=header.proposer, round0=header.round0, roots=merged
        )
    except (InvalidTransaction, InvalidBlock, KeyError, AssertionError, IndexError):
        return patched  # What the ledger or the merge refuses, no header makes right.
    return liar


@pytest.mark.parametrize("bonds", NETWORKS)
def test_what_a_proposer_builds_everyone_accepts_with_the_same_state(bonds: list[int]) -> None:
    world, header, body, built = rich_world(bonds)
    assert header.rule == "clip_nnm_trimmed_mean"
    assert not header.is_empty
    assert len(verify_body(world.state, header, body)) == len(bonds)
    checked = check(world.state, header, body, world.payload)
    assert checked.header_hash == built.header_hash == header.value_id
    assert checked.ledger == built.ledger
    assert checked.ledger.root == header.state_root
    assert checked.model is not None
    assert built.model is not None
    assert checked.model.root == built.model.root == header.model_root
    assert checked.model.root != world.state.model_root
    assert checked.train_index == 2


def test_a_block_survives_the_wire() -> None:
    world, header, body, _ = rich_world(NETWORKS[0])
    header = codec.decode(codec.encode(header), Header, 4096)
    body = codec.decode(codec.encode(body), Body, 1 << 22)
    check(world.state, header, body, world.payload)


@pytest.mark.parametrize("bonds", NETWORKS)
def test_no_field_of_a_header_can_be_another(bonds: list[int]) -> None:
    world, header, body, _ = rich_world(bonds)
    seen = set()
    for path, mutated in mutations(header):
        with pytest.raises(MalformedMessage if path == ".body_hash" else InvalidBlock):
            check(world.state, mutated, body, world.payload)
        seen.add(path[1:])
    assert seen == {field.name for field in msgspec.structs.fields(Header)}


def test_what_was_verified_before_is_not_verified_again_and_nothing_else_is_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, header, body, _ = rich_world(NETWORKS[0])
    avails = {
        entry.validator_index: AvailMessage(
            signed_avail(header.height, body.candidates, entry), listed_ids(body.candidates, entry)
        )
        for entry in body.avails
    }
    known = Known({update.update_id: update for update in body.updates}, avails, body.last_commit)
    mutated = [(forged(world, header, other), other) for _, other in mutations(body)]
    asked: list[bytes] = []

    def count(public: bytes, digest: bytes, signature: bytes) -> bool:
        asked.append(public)
        return has_valid_signature(public, digest, signature)

    monkeypatch.setattr(message, "has_valid_signature", count)
    whole = check_body(world.state, header, body)
    signatures = len(asked)
    assert signatures >= len(body.updates) + len(body.avails) + 3
    asked.clear()
    assert check_body(world.state, header, body, known) == whole
    assert len(asked) < signatures - len(body.updates) - len(body.avails) - 2  # Evidence is left, if any.
    for liar, other in mutated:
        with pytest.raises(InvalidBlock):
            check_body(world.state, liar, other, known)


def test_no_field_of_an_empty_header_can_be_another() -> None:
    world = World(NETWORKS[0])
    header, body, _ = world.build(headers=())
    assert header.is_empty
    for path, mutated in mutations(header):
        with pytest.raises(MalformedMessage if path == ".body_hash" else InvalidBlock):
            check(world.state, mutated, body, world.payload)


@pytest.mark.parametrize("bonds", NETWORKS)
def test_no_leaf_of_a_body_can_be_another_whatever_the_header_says(bonds: list[int]) -> None:
    world, header, body, _ = rich_world(bonds)
    seen = set()
    for path, mutated in mutations(body):
        with pytest.raises(MalformedMessage):
            check(world.state, header, mutated, world.payload)
        liar = forged(world, header, mutated)
        assert liar.body_hash == mutated.hash()
        with pytest.raises(InvalidBlock):
            check(world.state, liar, mutated, world.payload)
        seen.add(path.split(".")[1].split("[")[0])
    assert seen == {field.name for field in msgspec.structs.fields(Body)}


# A proposer may say which availability votes, transactions and evidence it has seen; nothing else is free.
MAY_LEAVE_OUT = {"avails", "transactions", "evidence"}


@pytest.mark.parametrize("bonds", NETWORKS)
def test_a_proposer_cannot_drop_double_or_reorder_what_a_body_lists(bonds: list[int]) -> None:
    world, header, body, _ = rich_world(bonds)
    tried = set()
    for field in msgspec.structs.fields(Body):
        items = getattr(body, field.name)
        if not isinstance(items, tuple):
            continue
        for what, changed in rearrangements(items):
            if what.endswith("left out") and field.name in MAY_LEAVE_OUT:
                continue
            mutated = msgspec.structs.replace(body, **{field.name: changed})
            with pytest.raises(InvalidBlock):
                check(world.state, forged(world, header, mutated), mutated, world.payload)
            tried.add(field.name)
    assert tried == {"avails", "candidates", "updates", "transactions", "evidence"}


def test_a_forged_header_would_pass_if_the_body_were_right() -> None:
    """Else the tests above would refuse the liar's header, not its body."""
    world, header, body, _ = rich_world(NETWORKS[0])
    assert forged(world, header, body) == header
    without = msgspec.structs.replace(body, transactions=())
    check(world.state, forged(world, header, without), without, world.payload)


def test_a_proposer_cannot_add_an_update_that_only_it_holds() -> None:
    world = World(NETWORKS[0])
    updates = world.updates()
    held = sorted(updates[:3], key=lambda update: update.trainer)
    avails = (world.avail(0, updates), *(world.avail(place, held) for place in (1, 2, 3)))
    header, body, _ = world.build(headers=updates, avails=avails)
    assert sorted(body.updates, key=lambda update: update.trainer) == held
    assert updates[3].update_id in body.candidates
    added = tuple(sorted(updates, key=lambda update: update.update_id))
    mutated = msgspec.structs.replace(body, updates=added)
    with pytest.raises(InvalidBlock, match=rf"have \['{updates[3].update_id.hex()}'\] without support"):
        check(world.state, forged(world, header, mutated), mutated, world.payload)


def test_a_proposer_cannot_leave_out_an_update_that_an_honest_voice_holds() -> None:
    world = World(NETWORKS[0])
    header, body, _ = world.build()
    mutated = msgspec.structs.replace(body, updates=body.updates[1:])
    with pytest.raises(InvalidBlock, match=rf"lack \['{body.updates[0].update_id.hex()}'\], have \[\]"):
        check(world.state, forged(world, header, mutated), mutated, world.payload)


def test_availability_votes_of_two_thirds_are_not_enough() -> None:
    world = World([100, 100, 100])
    header, body, _ = world.build()
    for count, power in ((2, 200), (0, 0)):
        mutated = msgspec.structs.replace(body, avails=body.avails[:count])
        with pytest.raises(InvalidBlock, match=f"power {power} of 300"):
            check(world.state, forged(world, header, mutated), mutated, world.payload)


def altered(result: Merge, place: int) -> Merge:
    """Return a merge whose aggregate and weights are 1 higher in one coordinate."""
    aggregate, weights = result.aggregate.copy(), result.model.weights.copy()
    aggregate[place] += 1
    weights[place] += 1
    model = ModelState(weights, result.model.update_exponents, result.model.model_exponents)
    return Merge(result.rule, aggregate, model)


@pytest.mark.parametrize("place", [0, 11, 12, 15])
def test_an_aggregate_that_is_one_off_in_one_coordinate_is_refused(place: int) -> None:
    world = World(NETWORKS[1])
    header, body, after = world.build()
    updates = update_set(body.updates, 0)
    rows = [world.payload(update) for update in updates.updates]
    honest = merge_updates(world.state, updates, header.rule, rows, map)
    assert merged_roots(honest).model == after.model_root
    liar = merged_roots(altered(honest, place))
    mutated = msgspec.structs.replace(header, aggregate_root=liar.aggregate, model_root=liar.model)
    with pytest.raises(InvalidBlock, match=f"aggregate_root is {liar.aggregate.hex()}, recomputed"):
        check(world.state, mutated, body, world.payload)
    only_model = msgspec.structs.replace(header, model_root=liar.model)
    with pytest.raises(InvalidBlock, match="model_root"):
        check(world.state, only_model, body, world.payload)


def test_a_payload_that_is_missing_is_no_verdict() -> None:
    world = World(NETWORKS[0])
    header, body, _ = world.build()
    del world.payloads[body.updates[0].update_id]
    with pytest.raises(KeyError):
        check(world.state, header, body, world.payload)


def test_threads_and_order_of_asking_change_nothing() -> None:
    world = World(NETWORKS[1])
    header, body, built = world.build()

    def backwards(function: Any, items: Any) -> Any:
        return reversed([function(item) for item in reversed(list(items))])

    checked = check(world.state, header, body, world.payload, backwards)
    assert checked.model is not None
    assert built.model is not None
    assert np.array_equal(checked.model.weights, built.model.weights)


def body_with(world: World, **changes: Any) -> tuple[Header, Body]:
    """Return a block whose body the proposer put together against the rules."""
    header, body, _ = world.build()
    mutated = msgspec.structs.replace(body, **changes)
    return forged(world, header, mutated), mutated


@pytest.mark.parametrize(
    "changes",
    [{"attempt": 1}, {"time_ms": World([1]).state.time_ms}, {"height": 2}, {"count": 0}],
    ids=lambda changes: next(iter(changes)),
)
def test_an_availability_vote_that_breaks_a_rule_spoils_the_block(changes: dict[str, int]) -> None:
    world = World(NETWORKS[0])
    updates = world.updates()
    avails = (world.avail(0, updates, **changes), *world.avails(updates)[1:])
    header, body, _ = world.build(headers=updates, avails=avails)
    with pytest.raises(InvalidBlock, match="availability vote of validator 0"):
        check(world.state, header, body, world.payload)


@pytest.mark.parametrize(
    "changes",
    [
        {"base_height": 1},
        {"base_model_root": bytes(32)},
        {"payload_bytes": 30},
        {"codec": 1},
        {"trainer": bytes([2]) + bytes(32)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_an_update_that_is_no_candidate_spoils_the_block_that_holds_it(changes: dict[str, Any]) -> None:
    world = World(NETWORKS[0])
    updates = (world.update(0, **changes), *world.updates()[1:])
    header, body, _ = world.build(headers=updates)
    with pytest.raises(InvalidBlock, match="is no candidate"):
        check(world.state, header, body, world.payload)


def test_evidence_that_is_too_old_or_of_the_future_is_refused() -> None:
    world = World(NETWORKS[0])
    for height in (0, 2):
        header, body = body_with(world, evidence=(world.double_vote(0, height),))
        with pytest.raises(InvalidBlock, match=f"evidence of height {height}; heights 1 to 1 count"):
            check(world.state, header, body, world.payload)


def test_evidence_is_old_after_its_age_and_not_before() -> None:
    world = World(NETWORKS[0], unbonding_heights=4, unbonding_ms=0)
    evidence = world.double_vote(0, 1)
    for _ in range(4):
        world.advance(headers=())
    assert convictions_of(world.state, [evidence])[0].culprit == world.publics[0]
    world.advance(headers=())
    with pytest.raises(InvalidBlock, match="evidence of height 1; heights 2 to 6 count"):
        convictions_of(world.state, [evidence])


def test_evidence_lives_until_time_is_over_too() -> None:
    world = World(NETWORKS[0], unbonding_heights=4, unbonding_ms=1000)
    evidence = world.double_vote(0, 1)
    while world.state.time_ms < world.genesis.time_ms + 1000:
        world.advance(headers=())
        assert convictions_of(world.state, [evidence])
    assert world.state.height > 5
    while world.state.oldest_evidence == 1:
        world.advance(headers=())
    assert world.state.time_ms < world.genesis.time_ms + 1500


def test_a_key_is_convicted_of_one_offence_once() -> None:
    world = World(NETWORKS[1])
    world.advance(evidence=(world.double_vote(0),))
    assert world.build(evidence=(world.double_vote(0, 1),))[1].evidence == ()
    header, body = body_with(world, evidence=(world.double_vote(0, 1),))
    with pytest.raises(InvalidBlock, match="was convicted of E1 before, or of its kind"):
        check(world.state, header, body, world.payload)


def test_the_last_commit_is_one_of_the_last_block() -> None:
    world = World(NETWORKS[0])
    header, body = body_with(world, last_commit=world.certify(world.build()[0]))
    with pytest.raises(InvalidBlock, match="height 1 has a last commit"):
        check(world.state, header, body, world.payload)
    other = world.certify(world.build(1)[0])
    world.advance()
    header, body = body_with(world, last_commit=None)
    with pytest.raises(InvalidBlock, match="height 2 lacks a last commit"):
        check(world.state, header, body, world.payload)
    right = world.build()[1].last_commit
    assert right is not None
    for wrong in (other, msgspec.structs.replace(right, height=2)):
        header, body = body_with(world, last_commit=wrong)
        with pytest.raises(
            InvalidBlock, match=f"for {wrong.value_id.hex()} at {wrong.height}, the last block is"
        ):
            check(world.state, header, body, world.payload)


def test_a_network_ends_at_its_final_height() -> None:
    world = World(NETWORKS[0], height_final=1)
    check(world.state, *world.build()[:2], world.payload)
    world.advance()
    header, body, _ = world.build()
    with pytest.raises(InvalidBlock, match="ended at height 1"):
        check(world.state, header, body, world.payload)


def test_payloads_are_asked_for_in_the_order_of_the_trainers() -> None:
    world = World(NETWORKS[1])
    header, body, _ = world.build()
    asked: list[UpdateHeader] = []

    def payloads(update: UpdateHeader) -> Any:
        asked.append(update)
        return world.payload(update)

    check(world.state, header, body, payloads)
    assert tuple(asked) == verify_body(world.state, header, body)
    assert [update.trainer for update in asked] == sorted(update.trainer for update in asked)
    assert list(body.updates) == sorted(body.updates, key=lambda update: update.update_id)


def test_an_empty_block_asks_for_no_payload_although_it_lists_updates() -> None:
    world = World(NETWORKS[0], updates_min=3)
    header, body, _ = world.build(headers=world.updates()[:2])
    assert header.is_empty
    assert len(body.updates) == 2
    assert verify_body(world.state, header, body) == ()


def test_a_candidate_that_nobody_lists_spoils_the_block() -> None:
    world = World(NETWORKS[0])
    _, body, _ = world.build()
    header, body = body_with(world, candidates=(*body.candidates, b"\xff" * 32))
    with pytest.raises(InvalidBlock, match="5 candidates, 4 of them in a list"):
        check(world.state, header, body, world.payload)


def test_a_body_and_its_evidence_fit_their_limits_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    world, header, body, _ = rich_world(NETWORKS[0])
    sizes = {
        "BODY_BYTES_MAX": len(codec.encode(body)),
        "EVIDENCE_BYTES_MAX": sum(len(codec.encode(item)) for item in body.evidence),
    }
    for name, size in sizes.items():
        with monkeypatch.context() as patch:
            patch.setattr(f"p2pfed.chain.check.{name}", size)
            check(world.state, header, body, world.payload)
            patch.setattr(f"p2pfed.chain.check.{name}", size - 1)
            with pytest.raises(InvalidBlock, match=str(size - 1)):
                check(world.state, header, body, world.payload)
