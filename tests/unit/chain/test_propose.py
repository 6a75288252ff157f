"""A proposer builds what the availability votes demand, or says what it lacks."""

from __future__ import annotations

import msgspec
import pytest
from support.chain import BALANCE, World

from p2pfed.chain import propose
from p2pfed.chain.check import check, verify_body
from p2pfed.chain.propose import MissingUpdates, build, missing_headers, needed_updates
from p2pfed.errors import LocalError
from p2pfed.primitives import codec
from p2pfed.primitives.digest import sha256
from p2pfed.types.availability import IDS_MAX
from p2pfed.types.update import UpdateHeader

EQUAL = [100] * 4


def test_what_is_asked_for_before_building_is_what_the_check_asks_for() -> None:
    world = World(EQUAL)
    inputs = world.inputs()
    header, body, _ = build(world.state, inputs, 0, world.payload)
    assert needed_updates(world.state, inputs, 0) == verify_body(world.state, header, body) == inputs.headers


def test_a_header_that_the_block_must_hold_is_waited_for() -> None:
    world = World(EQUAL)
    updates = world.updates()
    inputs = world.inputs(headers=updates[1:], avails=world.avails(updates))
    assert missing_headers(world.state, inputs) == (updates[0].update_id,)
    for attempt in (
        lambda: needed_updates(world.state, inputs, 0),
        lambda: build(world.state, inputs, 0, world.payload),
    ):
        with pytest.raises(MissingUpdates, match=updates[0].update_id.hex()):
            attempt()
    assert missing_headers(world.state, world.inputs()) == ()


def test_a_header_without_support_is_not_waited_for() -> None:
    world = World(EQUAL)
    updates = world.updates()
    avails = (world.avail(0, updates), *(world.avail(place, updates[1:]) for place in (1, 2, 3)))
    inputs = world.inputs(headers=updates[1:], avails=avails)
    assert missing_headers(world.state, inputs) == ()
    assert needed_updates(world.state, inputs, 0) == updates[1:]


def test_without_a_quorum_of_availability_votes_there_is_no_block() -> None:
    world = World([1, 1, 1])
    updates = world.updates()
    inputs = world.inputs(headers=updates, avails=world.avails(updates)[:2])
    with pytest.raises(LocalError, match="power 2 of 3"):
        build(world.state, inputs, 0, world.payload)


@pytest.mark.parametrize(("round0", "is_empty"), [(0, False), (3, False), (4, True)])
def test_a_late_round_makes_a_valid_block_without_a_model(round0: int, is_empty: bool) -> None:
    world = World(EQUAL)
    header, body, after = world.build(round0)
    checked = check(world.state, header, body, world.payload)
    assert header.is_empty == is_empty
    assert (header.rule == "") == is_empty
    assert (checked.model_root == world.state.model_root) == is_empty
    assert after.train_index == checked.train_index == (0 if is_empty else 1)


def test_an_empty_block_asks_for_no_payload() -> None:
    world = World(EQUAL, updates_min=3)
    updates = world.updates()[:2]

    def nothing(update: UpdateHeader) -> None:
        raise AssertionError(f"asked for {update.update_id.hex()}")

    inputs = world.inputs(headers=updates)
    assert needed_updates(world.state, inputs, 0) == ()
    header, body, after = build(world.state, inputs, 0, nothing)  # type: ignore[arg-type]
    assert header.is_empty
    assert len(body.updates) == 2
    checked = check(world.state, header, body, nothing)  # type: ignore[arg-type]
    assert checked.model is after.model is world.state.model
    assert checked.model_root == world.state.model_root


def test_a_rule_is_used_only_where_its_bound_holds_for_everybody_who_may_train() -> None:
    world = World([100] * 7, rules=("median",))
    updates = world.updates()
    assert not world.build(headers=updates[:5])[0].is_empty  # f = 2 of 7: five updates are enough.
    assert world.build(headers=updates[:4])[0].is_empty  # 2f < n fails for n = 4.
    fallback = World([100] * 7, rules=("median", "mean"))
    assert fallback.build(headers=fallback.updates()[:4])[0].rule == "mean"
    assert fallback.build(headers=fallback.updates()[:5])[0].rule == "median"


def test_junk_lists_of_a_liar_are_left_out_when_they_do_not_fit() -> None:
    world = World(EQUAL)
    updates = world.updates()
    junk = [sha256(number.to_bytes(4, "big")) for number in range(IDS_MAX - 2)]
    avails = (world.avail(0, junk), *world.avails(updates)[1:])
    header, body, _ = world.build(headers=updates, avails=avails)
    assert [entry.validator_index for entry in body.avails] == [1, 2, 3]
    assert len(body.candidates) == 4
    check(world.state, header, body, world.payload)
    fitting = (world.avail(0, junk[:-2]), *avails[1:])
    header, body, _ = world.build(headers=updates, avails=fitting)
    assert len(body.avails) == 4
    assert len(body.candidates) == IDS_MAX
    check(world.state, header, body, world.payload)


def test_a_trainer_that_sent_two_updates_is_out_and_cannot_come_again() -> None:
    world = World(EQUAL)
    headers = (*world.updates(), world.update(2, seed=1))
    header, body, _ = world.build(headers=headers)
    assert len(body.updates) == 5
    assert world.publics[2] not in {update.trainer for update in verify_body(world.state, header, body)}
    checked = check(world.state, header, body, world.payload)
    assert checked.ledger.training.last_base(world.publics[2]) == 0
    assert checked.ledger.training.last_trainers == tuple(
        key for key in world.publics if key != world.publics[2]
    )


def test_transactions_that_the_ledger_refuses_are_left_out() -> None:
    world = World(EQUAL)
    good = (world.transfer(0, 1, 10, 4, 0), world.transfer(0, 1, 20, 0, 1))
    bad = (
        world.transfer(0, 1, 10, 0, 0),
        world.transfer(1, 2, 10 * BALANCE, 0, 0),
        msgspec.structs.replace(world.transfer(2, 3, 1, 0, 0), amount=2),
    )
    header, body, after = world.build(transactions=(good[0], *bad, good[1]))
    assert body.transactions == good
    check(world.state, header, body, world.payload)
    payer = after.ledger.account(world.publics[0])
    assert payer is not None
    assert payer.nonce == 2


def test_evidence_is_ordered_once_and_convicts() -> None:
    world = World([100] * 7)
    evidence = (world.double_vote(0), world.double_proposal(1), world.double_vote(2))
    first = world.build(evidence=evidence)
    second = world.build(evidence=(*reversed(evidence), *evidence))
    assert first[0] == second[0]
    assert len(first[1].evidence) == 3
    check(world.state, *first[:2], world.payload)


def test_evidence_goes_in_while_its_bytes_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World([100] * 7)
    evidence = [world.double_vote(place) for place in range(3)]
    sizes = [len(codec.encode(item)) for item in evidence]
    for room, expected in ((sum(sizes), 3), (sum(sizes) - 1, 2), (sizes[0] - 1, 0)):
        monkeypatch.setattr(propose, "EVIDENCE_BYTES_MAX", room)
        assert len(world.build(evidence=evidence)[1].evidence) == expected
    monkeypatch.undo()
    monkeypatch.setattr(propose, "EVIDENCE_PER_BLOCK_MAX", 2)
    assert len(world.build(evidence=evidence)[1].evidence) == 2


def test_evidence_that_proves_nothing_is_left_out() -> None:
    world = World(EQUAL)
    forged = msgspec.structs.replace(
        world.double_vote(0), first=msgspec.structs.replace(world.double_vote(0).first, round=1)
    )
    assert world.build(evidence=(forged,))[1].evidence == ()
