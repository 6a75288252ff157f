"""What each kind of evidence proves, against whom, and for how long."""

from __future__ import annotations

import pytest
from ecdsa import SECP256k1, SigningKey
from ecdsa.util import sigencode_string_canonize
from msgspec.structs import replace
from msgspec.structs import replace as changed
from support.chain import World

from p2pfed.chain.check import check_body
from p2pfed.chain.evidence import accusation_of, conviction_of, duplicate_update, is_timely
from p2pfed.chain.invalid_update import invalid_header, opening
from p2pfed.consensus.evidence import in_order
from p2pfed.errors import BadSignature, MalformedMessage, OutOfBounds, PeerFault, WrongHeight
from p2pfed.ledger.module import Convict, Offence
from p2pfed.primitives.keys import PrivateKey
from p2pfed.types.evidence import Amnesia, DuplicateUpdate, Evidence, LightClientAttack

WORLD = World([10, 10, 10, 10])
ALL = WORLD.all_evidence(2)
KINDS = [Offence(number) for number in (1, 2, 3, 7, 5, 6, 4)]


@pytest.mark.parametrize(("evidence", "offence"), list(zip(ALL, KINDS, strict=True)))
def test_each_kind_convicts_its_sender_of_its_own_offence(evidence: Evidence, offence: Offence) -> None:
    validators = WORLD.state.validators
    convict = Convict(WORLD.publics[2], offence, 1, validators.validators[2].power, validators.total_power)
    assert conviction_of(WORLD.state, evidence) == accusation_of(WORLD.state, evidence) == convict


@pytest.mark.parametrize("evidence", ALL, ids=lambda evidence: type(evidence).__name__)
def test_each_kind_needs_every_signature(evidence: Evidence) -> None:
    for name in ("first", "second", "precommit", "prevote", "update", "other"):
        part = getattr(evidence, name, None)
        if part is not None:
            forged = replace(evidence, **{name: replace(part, signature=bytes(63) + b"\x01")})
            with pytest.raises(PeerFault):
                conviction_of(WORLD.state, forged)


@pytest.mark.parametrize("evidence", ALL, ids=lambda evidence: type(evidence).__name__)
def test_evidence_is_timely_from_its_own_height_until_it_is_old(evidence: Evidence) -> None:
    for oldest, expected in ((0, True), (1, True), (2, False)):
        ledger = WORLD.state.ledger
        staking = replace(ledger.staking, oldest=oldest)
        state = changed(WORLD.state, height=9, ledger=replace(ledger, staking=staking))
        assert is_timely(state, evidence) is expected
        if not expected:
            with pytest.raises(WrongHeight):
                conviction_of(state, evidence)


def test_a_stranger_is_not_convicted() -> None:
    stranger = PrivateKey(b"\x77" * 32)
    updates = [
        WORLD.sign(replace(WORLD.update(0), trainer=stranger.public, examples=count), stranger)
        for count in (1, 2)
    ]
    with pytest.raises(OutOfBounds, match="no participant"):
        conviction_of(WORLD.state, duplicate_update(*updates))
    with pytest.raises(OutOfBounds):
        accusation_of(WORLD.state, replace(ALL[1], precommit=replace(ALL[1].precommit, validator_index=4)))


def test_a_trainer_is_not_framed_for_two_updates() -> None:
    update, other = WORLD.update(0), WORLD.update(0, examples=7)
    framed = [
        (update, update),
        (update, WORLD.update(1)),
        (update, WORLD.update(0, base_height=1)),
        (update, replace(update, signature=other.signature)),
        (update, replace(other, signature=update.signature)),
    ]
    for pair in framed:
        for evidence in (DuplicateUpdate(*pair), DuplicateUpdate(*pair[::-1])):
            with pytest.raises((MalformedMessage, BadSignature, WrongHeight)):
                conviction_of(WORLD.state, evidence)
    # Another signature of the same words: they say nothing new.
    secret = SigningKey.from_string(WORLD.keys[update.trainer].secret, curve=SECP256k1)
    digest = update.digest(WORLD.genesis.chain_id)
    again = replace(
        update, signature=secret.sign_digest(digest, sigencode=sigencode_string_canonize, k=1_000_003)
    )
    assert again.is_signed_by(update.trainer, WORLD.genesis.chain_id)
    assert again.signature != update.signature
    with pytest.raises(MalformedMessage, match="the same"):
        conviction_of(WORLD.state, DuplicateUpdate(*in_order(update, again)))
    proof = duplicate_update(update, other)
    assert proof == duplicate_update(other, update)
    with pytest.raises(MalformedMessage, match="order"):
        conviction_of(WORLD.state, DuplicateUpdate(proof.second, proof.first))


def test_a_header_that_names_another_length_convicts_only_with_its_signature() -> None:
    header = WORLD.update(0, payload_bytes=30)
    assert conviction_of(WORLD.state, invalid_header(header)).offence is Offence.INVALID_UPDATE
    with pytest.raises(BadSignature):
        conviction_of(WORLD.state, invalid_header(replace(header, examples=99)))


def test_a_trainer_is_not_framed_for_an_honest_update() -> None:
    update = WORLD.update(0)
    for framed in (invalid_header(update), opening(update, WORLD.blobs[update.update_id], 0)):
        with pytest.raises(MalformedMessage):
            conviction_of(WORLD.state, framed)


def test_a_block_may_carry_every_kind_and_two_of_one_kind_are_one_too_many() -> None:
    world = World([10, 10, 10, 10])
    block = world.advance(evidence=world.all_evidence(3))
    assert sorted(type(item).__name__ for item in block.body.evidence) == sorted(
        type(item).__name__
        for item in world.all_evidence(0)
        if not isinstance(item, Amnesia | LightClientAttack)
    )
    culprit = world.publics[3]
    assert [o for o in Offence if world.state.ledger.slashing.has_convicted(culprit, o)] == list(
        Offence  # E1 stands for E2 and E4: a key is tombstoned once.
    )


@pytest.mark.parametrize("has_proof", [False, True])
def test_two_updates_in_a_block_convict_their_trainer_without_a_proof(has_proof: bool) -> None:
    world = World([10, 10, 10, 10])
    twice = world.double_update(0)
    headers = (*world.updates()[1:], twice.first, twice.second)
    header, body, after = world.build(headers=headers, evidence=(twice,) if has_proof else ())
    assert len(body.updates) == 5
    assert check_body(world.state, header, body).ledger == after.ledger
    slashing = after.ledger.slashing
    assert slashing.has_convicted(world.publics[0], Offence.DUPLICATE_UPDATE)
    assert not any(slashing.has_convicted(key, Offence.DUPLICATE_UPDATE) for key in world.publics[1:])
