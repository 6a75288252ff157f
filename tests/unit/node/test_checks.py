"""Checks made once for many peers answer and raise as the peers' own do."""

from __future__ import annotations

import msgspec
import pytest
from support.chain import NO_SIGNATURE, World
from support.lab import Lab

from p2pfed.chain import check
from p2pfed.chain.check import NOTHING_KNOWN
from p2pfed.errors import BadSignature, InvalidBlock
from p2pfed.node.effects import Blame
from p2pfed.sim import shared_checks
from p2pfed.sim.shared_checks import SharedChecks
from p2pfed.types.message import SignedMessage
from p2pfed.types.vote import Prevote


@pytest.fixture
def world() -> World:
    return World((10, 10, 10, 10))


def test_a_signature_is_checked_once_and_a_forged_one_stays_forged(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[SignedMessage] = []
    real = SignedMessage.is_signed_by

    def check_one(self, public, chain_id):  # type: ignore[no-untyped-def]
        checked.append(self)
        return real(self, public, chain_id)

    monkeypatch.setattr(Prevote, "is_signed_by", check_one, raising=False)
    shared = SharedChecks().checks
    vote = world.sign(Prevote(1, 0, None, -1, 1, NO_SIGNATURE), world.key(1))
    forged = msgspec.structs.replace(vote, signature=NO_SIGNATURE)
    chain_id, key = world.genesis.chain_id, world.key(1).public
    for _ in range(3):
        assert shared.is_signed_by(vote, key, chain_id)
        assert not shared.is_signed_by(forged, key, chain_id)
        assert not shared.is_signed_by(vote, world.key(2).public, chain_id)
    assert len(checked) == 3


def test_a_body_is_verified_once_and_a_bad_one_stays_bad(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []

    def look(state, header, body, known):  # type: ignore[no-untyped-def]
        asked.append(header.value_id)
        return check.check_body(state, header, body, known)

    monkeypatch.setattr(shared_checks, "check_body", look)
    shared = SharedChecks().checks
    header, body, _ = world.build()
    bad = msgspec.structs.replace(body, avails=body.avails[:1])
    wrong = msgspec.structs.replace(header, body_hash=bad.hash())
    for _ in range(3):
        found = shared.check_body(world.state, header, body, NOTHING_KNOWN)
        assert found == check.check_body(world.state, header, body)
        with pytest.raises(InvalidBlock, match="two thirds"):
            shared.check_body(world.state, wrong, bad, NOTHING_KNOWN)
    assert asked == [header.value_id, wrong.value_id]


def test_a_node_with_shared_checks_refuses_what_another_would(world: World) -> None:
    shared = SharedChecks().checks
    for own in (0, 1):
        lab = Lab(own, world=world, checks=shared)
        lab.start()
        place = next(place for place in range(4) if world.key(place).public != lab.key.public)
        lab.hear(Prevote(1, 0, None, -1, place, NO_SIGNATURE))
        assert [type(effect.fault) for effect in lab.all_of(Blame)] == [BadSignature]
