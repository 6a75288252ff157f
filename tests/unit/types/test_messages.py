"""Every message on the wire has one encoding and, where it is signed, one digest: frozen here."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from p2pfed.errors import MalformedMessage
from p2pfed.primitives import codec
from p2pfed.primitives.digest import signing_digest
from p2pfed.primitives.keys import PrivateKey
from p2pfed.types import wire
from p2pfed.types.availability import Avail, AvailMessage, list_hash
from p2pfed.types.certificate import CommitCert, PolkaCert
from p2pfed.types.evidence import (
    Amnesia,
    DuplicateAvail,
    DuplicateProposal,
    DuplicateUpdate,
    DuplicateVote,
    InvalidUpdate,
)
from p2pfed.types.light import ListProof
from p2pfed.types.message import SignedMessage
from p2pfed.types.params import (
    HEIGHT_MAX,
    PROOF_KEY_BYTES_MAX,
    PROOF_LEAF_BYTES_MAX,
    STAKE_TOTAL_MAX,
    VALIDATORS_MAX,
)
from p2pfed.types.peer import PeerRecord
from p2pfed.types.proposal import Proposal
from p2pfed.types.quality import Quality
from p2pfed.types.transaction import Bond, Transfer, Unbond, Unjail
from p2pfed.types.update import UpdateHeader
from p2pfed.types.validators import Validator, ValidatorSet
from p2pfed.types.vote import Precommit, Prevote

KEY, CHAIN = PrivateKey(b"\x05" * 32), b"\x0c" * 32
A, B, NONE = b"\xaa" * 32, b"\xbb" * 32, bytes(64)

SIGNED: dict[str, SignedMessage] = {
    "update": UpdateHeader(KEY.public, 6, A, 4820, B, 0, 200, NONE),
    "avail": Avail(7, 0, 3, list_hash((A, B)), 2, 1_700_000_000_000, NONE),
    "prevote": Prevote(7, 1, A, 0, 3, NONE),
    "nil prevote": Prevote(7, 1, None, -1, 3, NONE),
    "precommit": Precommit(7, 1, A, 3, NONE),
    "proposal": Proposal(7, 1, A, -1, 3, NONE),
    "transfer": Transfer(KEY.public, b"\x02" + A, 5, 2, 0, NONE),
    "bond": Bond(KEY.public, 5, 2, 0, NONE),
    "unbond": Unbond(KEY.public, 5, 2, 0, NONE),
    "unjail": Unjail(KEY.public, 2, 0, NONE),
    "quality": Quality(7, KEY.public, 60_000, b"\xfe\xff", NONE),
    "peer record": PeerRecord(KEY.public, 1_700_000_000_000, ("/ip4/10.0.0.1/tcp/7400",), NONE),
}
# The first bytes of the digest that is signed; a change needs a decision record and another network version.
FROZEN = {
    "update": "02d58c2d6dbab2be",
    "avail": "325827b1fcf0d5dc",
    "prevote": "1355b008a8433f6e",
    "nil prevote": "053c1438765ccb21",
    "precommit": "b5b157e30b4e52d4",
    "proposal": "6caba114c9e38a0c",
    "transfer": "cb28c5a10c67128b",
    "bond": "a586f143e014894b",
    "unbond": "eaa2e9e9151520d8",
    "unjail": "f428aafef7bad7c2",
    "quality": "769aeb4690d45a50",
    "peer record": "7ee9f9c6bb60e132",
}


@pytest.mark.parametrize("name", SIGNED)
def test_a_signature_covers_every_field_before_it_and_the_network(name: str) -> None:
    message = SIGNED[name]
    fields = msgspec.structs.astuple(message)
    body = codec.encode(fields[:-1])
    assert message.body() == body
    assert message.digest(CHAIN) == signing_digest(message.KIND, CHAIN, body)
    signed = msgspec.structs.replace(message, signature=KEY.sign(message.digest(CHAIN)))
    assert signed.digest(CHAIN) == message.digest(CHAIN)
    assert signed.is_signed_by(KEY.public, CHAIN)
    assert not signed.is_signed_by(KEY.public, A)
    assert not signed.is_signed_by(PrivateKey(b"\x06" * 32).public, CHAIN)


def test_a_signed_bond_is_no_signed_unbond() -> None:
    bond, unbond = SIGNED["bond"], SIGNED["unbond"]
    assert bond.body() == unbond.body()
    signature = KEY.sign(bond.digest(CHAIN))
    assert msgspec.structs.replace(bond, signature=signature).is_signed_by(KEY.public, CHAIN)
    assert not msgspec.structs.replace(unbond, signature=signature).is_signed_by(KEY.public, CHAIN)


@pytest.mark.parametrize("name", SIGNED)
def test_the_digest_that_is_signed_never_changes(name: str) -> None:
    assert SIGNED[name].digest(CHAIN).hex()[:16] == FROZEN[name]


def test_each_signed_kind_has_a_domain_of_its_own() -> None:
    kinds = {type(message): message.KIND for message in SIGNED.values()}
    assert len(set(kinds.values())) == len(kinds)
    assert all(kinds.values())


def test_no_two_messages_of_the_wire_share_a_tag() -> None:
    kinds = [*get_args(wire.ControlMessage), *get_args(wire.BulkRequest), *get_args(wire.BulkResponse)]
    tags = [kind.__struct_config__.tag for kind in [*kinds, PeerRecord, Proposal, Avail]]
    assert len(set(tags)) == len(tags) == 38


def test_the_name_of_an_update_is_over_its_body_not_its_signature() -> None:
    update = UpdateHeader(KEY.public, 6, A, 4820, B, 0, 200, NONE)
    assert update.update_id == msgspec.structs.replace(update, signature=b"\x01" * 64).update_id
    assert update.update_id != msgspec.structs.replace(update, examples=201).update_id


@pytest.mark.parametrize(
    "message",
    [
        AvailMessage(SIGNED["avail"], (A, B)),
        PolkaCert(7, 1, A, 0, b"\x07", (NONE,) * 3),
        CommitCert(7, 1, A, b"\x07", (NONE,) * 3),
        DuplicateVote(SIGNED["precommit"], Precommit(7, 1, B, 3, NONE)),
        DuplicateProposal(SIGNED["proposal"], Proposal(7, 1, B, -1, 3, NONE)),
        Amnesia(SIGNED["precommit"], SIGNED["prevote"]),
        DuplicateAvail(SIGNED["avail"], SIGNED["avail"]),
        InvalidUpdate(SIGNED["update"], 2, A, (A, B)),
        DuplicateUpdate(SIGNED["update"], SIGNED["update"]),
        wire.PeerRecords((SIGNED["peer record"],)),
        *SIGNED.values(),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_control_message_is_read_back_as_it_was_written(message: object) -> None:
    if isinstance(message, Avail | Proposal | PeerRecord):
        return  # They travel inside AvailMessage, ProposalMessage and PeerRecords.
    assert wire.decode_control(codec.encode(message)) == message


@pytest.mark.parametrize(
    "request_",
    [
        wire.GetChunk(A, 3),
        wire.GetBlocks(4, 32),
        wire.GetGenesis(),
        wire.GetLightBlock(7),
        wire.GetProof(7, "updates", A),
    ],
    ids=lambda item: type(item).__name__,
)
def test_a_bulk_request_is_read_back_as_it_was_written(request_: object) -> None:
    assert wire.decode_request(codec.encode(request_)) == request_


@pytest.mark.parametrize(
    "request_",
    [
        wire.GetProof(7, "updates", bytes(PROOF_KEY_BYTES_MAX + 1)),
        wire.GetProof(7, "blocks", A),  # type: ignore[arg-type]
        wire.GetProof(-1, "state", A),
        wire.GetLightBlock(HEIGHT_MAX + 1),
    ],
    ids=["long key", "no such tree", "negative height", "high height"],
)
def test_a_light_clients_request_beyond_its_limits_is_refused(request_: object) -> None:
    with pytest.raises(MalformedMessage):
        wire.decode_request(codec.encode(request_))


@pytest.mark.parametrize(
    "proof",
    [
        ListProof(0, 3, (A, A, A), ((), (), ())),
        ListProof(0, 1, (bytes(PROOF_LEAF_BYTES_MAX + 1),), ((),)),
        ListProof(0, 1, (A,), ((A,) * 33,)),
        ListProof(0, 1, (A,), ((A[1:],),)),
        ListProof(-1, 1, (A,), ((),)),
    ],
    ids=["three leaves", "long leaf", "long path", "short hash", "negative index"],
)
def test_a_proof_beyond_its_limits_is_refused(proof: ListProof) -> None:
    with pytest.raises(MalformedMessage):
        wire.decode_response(codec.encode(proof))


def test_the_longest_light_block_is_65_kilobytes() -> None:
    keys = sorted(bytes([2]) + number.to_bytes(32, "big") for number in range(VALIDATORS_MAX))
    validators = ValidatorSet(tuple(Validator(key, STAKE_TOTAL_MAX) for key in keys))
    certificate = CommitCert(HEIGHT_MAX, 9, A, b"\xff" * 50, (NONE,) * VALIDATORS_MAX)
    assert len(codec.encode((certificate, validators, validators))) < 65_000


def test_the_largest_vote_is_small() -> None:
    vote = Prevote((1 << 63) - 1, (1 << 32) - 1, A, (1 << 32) - 1, 65535, NONE)
    assert len(codec.encode(vote)) <= 130
