"""What a message asks us to verify is counted before anything of it is."""

from __future__ import annotations

from typing import get_args

from support.chain import World

from p2pfed.errors import RateExceeded
from p2pfed.gossip.limits import BURST_SECONDS, SIGNATURES_PER_SECOND_MAX
from p2pfed.node.effects import Blame, Disconnect
from p2pfed.node.neighbours import Neighbours
from p2pfed.node.signatures import _COUNTED, _FIXED, signatures_in
from p2pfed.types.certificate import CommitCert, PolkaCert
from p2pfed.types.evidence import DuplicateUpdate
from p2pfed.types.params import VALIDATORS_MAX
from p2pfed.types.peer import PeerRecord
from p2pfed.types.vote import Prevote
from p2pfed.types.wire import ControlMessage, Digest, PeerRecords, ProposalMessage

CERT = CommitCert(1, 0, bytes(32), bytes(50), (bytes(64),) * VALIDATORS_MAX)


def test_every_kind_of_message_has_a_count() -> None:
    assert {*_FIXED, *_COUNTED} == set(get_args(ControlMessage))


def test_certificates_records_and_proposals_count_what_they_hold() -> None:
    world = World((10, 10, 10, 10))
    polka = PolkaCert(1, 0, bytes(32), -1, b"\3", (bytes(64),) * 3)
    record = PeerRecord(world.publics[0], 1, (), bytes(64))
    assert signatures_in(CERT) == VALIDATORS_MAX
    assert signatures_in(polka) == 3
    assert signatures_in(PeerRecords((record, record))) == 2
    assert signatures_in(Prevote(1, 0, None, -1, 0, bytes(64))) == 1
    assert signatures_in(Digest(1, 0, 0, -1, -1, (), b"", b"")) == 0
    update = world.update(0)
    assert signatures_in(DuplicateUpdate(update, update)) == 2
    header, _, _ = world.build()
    lie = world.double_proposal(0)
    for attached, count in ((None, 1), (polka, 4)):
        assert signatures_in(ProposalMessage(lie.first, header, attached)) == count


def test_who_makes_us_verify_without_end_is_blamed_and_cut_off() -> None:
    world, outbox = World((10, 10, 10, 10)), []
    neighbours = Neighbours(
        world.keys[world.publics[0]],
        world.state.chain_id,
        tuple(world.publics),
        world.state.validators,
        outbox,
    )
    peer = world.publics[1]
    neighbours.connect(peer, None, 0)
    outbox.clear()
    budget = SIGNATURES_PER_SECOND_MAX * BURST_SECONDS // VALIDATORS_MAX
    passed = [neighbours.admit(peer, CERT, 26_000, 0) for _ in range(budget + 5)]
    assert passed == [True] * budget + [False] * 5
    assert all(isinstance(one.fault, RateExceeded) for one in outbox if isinstance(one, Blame))
    assert any(isinstance(one, Disconnect) for one in outbox)
