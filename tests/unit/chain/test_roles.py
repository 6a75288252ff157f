"""Trainers without a vote, validators without an update: who weighs what, is counted, is convicted."""

from __future__ import annotations

import json

import pytest
from support.chain import World, make_genesis, small_model

from p2pfed.chain.apply import apply_certified
from p2pfed.chain.candidate import verify_update
from p2pfed.chain.check import check
from p2pfed.chain.evidence import conviction_of
from p2pfed.chain.genesis import decode_genesis, dump_genesis, load_genesis, verify_genesis
from p2pfed.chain.roles import parse_roles
from p2pfed.chain.state import encode_ledger, genesis_state, restore
from p2pfed.errors import LocalError, MalformedMessage, OutOfBounds, UsageError
from p2pfed.ledger.module import Offence
from p2pfed.primitives import codec
from p2pfed.types.genesis import encode_genesis

# Three that only vote, four that only train, one that does both.
ROLES = ["3:validator", "4:trainer"]
BONDS = [10, 10, 10, 5, 5, 5, 5, 10]


def world(**changes: int) -> World:
    return World(BONDS, roles=ROLES, **changes)


def test_roles_are_dealt_from_the_first_member_on() -> None:
    assert parse_roles([], 2) == ("both", "both")
    assert parse_roles(["1:trainer", "2:validator"], 4) == ("trainer", "validator", "validator", "both")


@pytest.mark.parametrize(
    "texts", [["trainer"], ["1:tester"], ["0:both"], ["-1:both"], ["²:both"], ["5:trainer"], [":both"],
              ["3:trainer", "2:validator"]],
)  # fmt: skip
def test_roles_that_make_no_sense_are_refused(texts: list[str]) -> None:
    with pytest.raises(UsageError, match=r"COUNT:ROLE|5 roles for 4 members"):
        parse_roles(texts, 4)


def test_a_role_is_spelled_only_where_it_is_another_than_both() -> None:
    genesis = make_genesis(BONDS, roles=ROLES)
    verify_genesis(genesis)
    assert decode_genesis(encode_genesis(genesis)) == genesis
    assert load_genesis(dump_genesis(genesis).encode()) == genesis
    members = json.loads(dump_genesis(genesis))["participants"]
    assert [member.get("role") for member in members] == 3 * ["validator"] + 4 * ["trainer"] + [None]
    plain = make_genesis(BONDS)
    assert genesis.chain_id != plain.chain_id
    assert "role" not in dump_genesis(plain)
    assert make_genesis(BONDS, roles=["8:both"]).chain_id == plain.chain_id
    spelled = codec.encode(genesis)  # All four fields of everybody.
    with pytest.raises(MalformedMessage):
        decode_genesis(spelled)


def test_only_those_who_vote_are_in_the_set_and_only_those_who_train_are_counted() -> None:
    state = world().state
    publics = [participant.key for participant in state.genesis.participants]
    assert [entry.key for entry in state.validators.validators] == [*publics[:3], publics[7]]
    assert state.validators.total_power == 40
    assert state.genesis.validators == state.validators
    assert list(state.trainers) == publics[3:]
    assert state.trainer_bonds == state.genesis.trainer_bonds == (5, 5, 5, 5, 10)


def test_blocks_merge_what_trainers_without_a_vote_send() -> None:
    small, state = world(emission=1000), genesis_state(world(emission=1000).genesis, small_model())
    for _ in range(3):
        before, block = small.state, small.advance()
        assert {update.trainer for update in block.body.updates} == {*before.trainers}
        assert len(block.body.avails) == 4
        assert check(before, block.header, block.body, small.payload).ledger == small.state.ledger
        state = apply_certified(state, block)
        assert state.ledger == small.state.ledger
        again = restore(small.genesis, block.header, encode_ledger(state.ledger), None)
        assert (again.validators, again.trainers) == (before.validators, before.trainers)
    standings = state.ledger.contribution.standings
    assert [
        standing.key for standing in standings
    ] == small.publics  # Whoever votes is paid, whoever trains scored.


def test_who_only_votes_sends_no_update() -> None:
    small = world()
    with pytest.raises(OutOfBounds, match="is no trainer"):
        verify_update(small.state, small.update(0))


def test_f_comes_from_those_who_train_alone() -> None:
    """Votes without updates would make any number of liars look small."""
    small = World([1000] * 3 + [1] * 4, roles=ROLES)
    header, _, _ = small.build()
    assert header.rule == "clip_nnm_trimmed_mean"
    header, _, _ = small.build(headers=small.updates()[:2])  # f = 1 of four, and 2 f < 2 does not hold.
    assert header.rule == ""
    alone = World([1000] * 7, roles=["6:validator"], updates_min=1)
    header, _, _ = alone.build()
    assert header.rule == "clip_nnm_trimmed_mean"


def test_liars_must_hold_less_than_a_third_of_the_votes_and_of_the_training() -> None:
    genesis = world().genesis
    publics = [participant.key for participant in genesis.participants]
    verify_genesis(genesis, publics[:1])
    verify_genesis(genesis, publics[3:4])
    with pytest.raises(LocalError, match="hold 20 of 40: agreement needs less than a third"):
        verify_genesis(genesis, publics[:2])
    with pytest.raises(LocalError, match="hold 10 of 30: training needs less than a third"):
        verify_genesis(genesis, publics[3:5])


def test_a_trainer_without_a_vote_pays_for_lies_in_its_updates() -> None:
    small = world()
    for evidence, offence in (
        (small.bad_update(4), Offence.INVALID_UPDATE),
        (small.double_update(4), Offence.DUPLICATE_UPDATE),
    ):
        found = conviction_of(small.state, evidence)
        assert (found.culprit, found.offence, found.power, found.total_power) == (
            small.publics[4],
            offence,
            5,
            60,
        )
    small.advance(evidence=(small.bad_update(4),))
    assert small.publics[4] not in small.state.trainers
    twice = (small.update(5), small.update(5, examples=7))
    small.advance(headers=(*small.updates()[:2], *twice))
    stake = small.state.ledger.stake(small.publics[5])
    assert stake is not None
    assert stake.bond == 4
    assert [entry.offence for entry in small.state.ledger.slashing.convictions] == [5, 6]
