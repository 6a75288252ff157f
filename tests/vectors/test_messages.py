"""Every message has a frozen encoding that a stranger can rebuild from README.md, field by field.

`python tests/vectors/test_messages.py` writes messages.json anew; the spec and a decision record come first.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.chain import NO_SIGNATURE, World, make_genesis, signed

from p2pfed.chain.proofs import account_key, prove_leaf, prove_update
from p2pfed.chain.snapshot import snapshot_of
from p2pfed.chain.state import encode_ledger
from p2pfed.consensus.certificates import polka_cert
from p2pfed.net.tcp.hello import Hello, Transcript, prove
from p2pfed.primitives import codec
from p2pfed.primitives.digest import sha256
from p2pfed.primitives.merkle import chunk_hashes, chunk_root, path_of_hashes
from p2pfed.types import wire
from p2pfed.types.bitmap import bitmap_of
from p2pfed.types.block import Block
from p2pfed.types.genesis import Genesis, encode_genesis
from p2pfed.types.light import LightBlock
from p2pfed.types.message import Message, SignedMessage
from p2pfed.types.peer import PeerRecord
from p2pfed.types.pledge import Pledge
from p2pfed.types.proposal import Proposal
from p2pfed.types.quality import Quality
from p2pfed.types.vote import Precommit, Prevote

# The first member only votes, the second and third only train, the fourth does both.
WITH_ROLES = make_genesis([10, 10, 10, 10], roles=["1:validator", "2:trainer"])
PATH = Path(__file__).with_name("messages.json")
KINDS = {
    "control": (wire.ControlMessage, wire.decode_control),
    "request": (wire.BulkRequest, wire.decode_request),
    "response": (wire.BulkResponse, wire.decode_response),
}
BLOB_BYTES = (1 << 20) + 100  # One whole chunk and a small one: byte i is i mod 251.


def samples(world: World) -> tuple[dict[str, Message], dict[str, Any]]:
    """Return a message of each kind, some kinds twice, and what else a reader needs to check them."""
    before = World([10, 10, 10, 10])
    updates, validators = before.updates(), before.state.validators
    block = world.advance(
        headers=world.updates(),
        transactions=(world.transfer(0, 1, 5, 2, 0),),
        evidence=(world.double_vote(2),),
    )
    after, ledger = world.state.validators, world.state.ledger
    light, ledger_bytes = LightBlock(block.header, block.commit, validators, after), encode_ledger(ledger)
    chain_id, value_id = world.genesis.chain_id, block.header.value_id

    def by(place: int, message: SignedMessage) -> Any:
        return signed(message, before.key(place), chain_id)

    prevotes = [by(place, Prevote(1, 0, value_id, -1, place, NO_SIGNATURE)) for place in (0, 1)]
    later = [by(place, Prevote(1, 2, value_id, 0, place, NO_SIGNATURE)) for place in range(len(validators))]
    polka = polka_cert(later, validators)
    fresh = by(1, Proposal(1, 0, value_id, -1, 1, NO_SIGNATURE))
    again = by(0, Proposal(1, 3, value_id, 2, 0, NO_SIGNATURE))
    key = world.keys[world.publics[3]]
    addresses = ("/ip4/192.0.2.7/tcp/4001",)
    record = signed(PeerRecord(key.public, 7, addresses, NO_SIGNATURE), key, chain_id)
    held = wire.RoundVotes(2, bitmap_of((0, 2), 4), bitmap_of((), 4), has_proposal=True)
    blob = bytes(place % 251 for place in range(BLOB_BYTES))
    account = account_key(world.publics[0])
    proof = prove_leaf(ledger, account)
    missing = prove_update(block.body.updates, bytes(32))
    found: dict[str, Message] = {
        "update": updates[0],
        "pledge": by(0, Pledge(updates[0].trainer, 0, updates[0].update_id, NO_SIGNATURE)),
        "availability vote": before.avail(1, updates),
        "availability vote for nothing": before.avail(2, ()),
        "prevote for a fresh value": prevotes[0],
        "prevote for an older value": later[1],
        "prevote for nothing": by(2, Prevote(1, 1, None, -1, 2, NO_SIGNATURE)),
        "precommit": by(0, Precommit(1, 0, value_id, 0, NO_SIGNATURE)),
        "precommit for nothing": by(1, Precommit(1, 70_000, None, 1, NO_SIGNATURE)),
        "polka certificate": polka,
        "commit certificate": block.commit,
        "proposal": wire.ProposalMessage(fresh, block.header, None),
        "proposal of an older value": wire.ProposalMessage(again, block.header, polka),
        "transfer": block.body.transactions[0],
        "bond": before.bond(0, 5, 2, 0),
        "unbond": before.unbond(0, 5, 2, 0),
        "unjail": before.unjail(0, 2, 0),
        "word on quality": signed(
            Quality(1, key.public, 60_000, b"\xfe\xff\x10", NO_SIGNATURE), key, chain_id
        ),
        "digest": wire.Digest(1, 2, 3, 0, 2, (held,), bitmap_of((0, 1, 2), 4), bitmap_of((1, 3), 4)),
        "peer records": wire.PeerRecords((record,)),
        **{f"evidence {type(proof).__name__}": proof for proof in before.all_evidence(2)},
        "ask for a chunk": wire.GetChunk(chunk_root(blob), 1),
        "ask for blocks": wire.GetBlocks(1, 2),
        "ask for genesis": wire.GetGenesis(),
        "ask for a light block": wire.GetLightBlock(0),
        "ask for a snapshot": wire.GetSnapshot(0),
        "ask for a proof": wire.GetProof(1, "state", account),
        "chunk": wire.Chunk(2, blob[1 << 20 :], path_of_hashes(chunk_hashes(blob), 1)),
        "blocks": wire.Blocks((block, world.advance())),
        "genesis": wire.GenesisBytes(encode_genesis(world.genesis)),
        "genesis with roles": wire.GenesisBytes(encode_genesis(WITH_ROLES)),
        "light block": light,
        "snapshot": snapshot_of(light, ledger_bytes, len(codec.encode(block.body)), world.genesis),
        "proof": proof,
        "proof of absence": missing,
        "missing": wire.Missing(),
    }
    return found, derived(world, block, blob)


def derived(world: World, block: Block, blob: bytes) -> dict[str, str]:
    """Return digests that messages name each other by."""
    body, update = block.body, block.body.updates[0]
    return {
        name: digest.hex()
        for name, digest in {
            "chain_id of the genesis": world.genesis.chain_id,
            "params_hash of the header": world.genesis.params_hash,
            "validators_hash of the header": block.header.validators_hash,
            "value_id of the header": block.header.value_id,
            "update_id of the first update of the block": update.update_id,
            "updates_root of the block": block.header.updates_root,
            "transactions_root of the block": block.header.transactions_root,
            "evidence_root of the block": block.header.evidence_root,
            "body_hash of the block": body.hash(),
            "state_root after the block": block.header.state_root,
            "root of the blob": chunk_root(blob),
            "chain_id of the genesis with roles": WITH_ROLES.chain_id,
            "validators_hash of the genesis with roles": WITH_ROLES.validators.hash,
        }.items()
    }


def handshake(world: World) -> dict[str, Any]:
    """Return what two ends of a tcp pipe sign (docs/spec/network.md N15, N16)."""
    dialer, listener = (world.keys[public] for public in world.publics[:2])
    hellos = [
        Hello(1, world.genesis.chain_id, key.public, bytes([fill]) * 32, bytes([fill + 1]) * 16, dial)
        for key, fill, dial in ((dialer, 17, 3), (listener, 33, 0))
    ]
    certificate = sha256(b"a certificate in DER")
    return {
        role: {
            "transcript": readable(transcript),
            "bytes": codec.encode(transcript).hex(),
            "signature": prove(key, transcript).hex(),
        }
        for role, key in (("dialer", dialer), ("listener", listener))
        for transcript in [Transcript(role, *hellos, certificate)]  # type: ignore[arg-type]
    }


def readable(value: Any) -> Any:
    """Return a value as JSON: a message by its fields, bytes as `hex:`."""
    if isinstance(value, msgspec.Struct):
        fields = {field.name: readable(getattr(value, field.name)) for field in msgspec.structs.fields(value)}
        return {"is": type(value).__name__, **fields}
    if isinstance(value, tuple):
        return [readable(item) for item in value]
    return f"hex:{value.hex()}" if isinstance(value, bytes) else value


def structs_in(value: Any) -> Iterator[type[Message]]:
    if isinstance(value, msgspec.Struct):
        yield type(value)  # type: ignore[misc]
        for field in msgspec.structs.fields(value):
            yield from structs_in(getattr(value, field.name))
    elif isinstance(value, tuple):
        for item in value:
            yield from structs_in(item)


def made() -> dict[str, Any]:
    """Return the vectors as this code makes them: keys 1 to 4, the genesis of `support.chain`."""
    world = World([10, 10, 10, 10])
    secrets = {key.public.hex(): key.secret.hex() for key in world.keys.values()}
    voters = [validator.key.hex() for validator in world.state.validators.validators]
    messages, digests = samples(world)
    kinds = {kind.__name__: kind for message in messages.values() for kind in structs_in(message)}
    kinds |= {kind.__name__: kind for kind in (Genesis, *structs_in(world.genesis), Hello, Transcript)}
    return {
        "chain_id": world.genesis.chain_id.hex(),
        "secrets": secrets,
        "validators": voters,
        "types": {
            name: {
                "tag": kind.__struct_config__.tag,
                "signed_as": getattr(kind, "KIND", None),
                "fields": [field.name for field in msgspec.structs.fields(kind)],
            }
            for name, kind in sorted(kinds.items())
        },
        "messages": [
            {"name": name, "message": readable(message), "bytes": codec.encode(message).hex()}
            for name, message in messages.items()
        ],
        "digests": digests,
        "handshake": handshake(world),
    }


FROZEN = json.loads(PATH.read_text(encoding="utf-8")) if PATH.exists() else {}


def test_every_message_has_the_frozen_bytes() -> None:
    assert made() == FROZEN


def test_every_kind_of_the_wire_has_a_vector() -> None:
    """A kind that is added gets its vector with it."""
    wanted = {kind.__name__ for union, _ in KINDS.values() for kind in get_args(union)}
    assert {row["message"]["is"] for row in FROZEN["messages"]} == wanted


def test_the_frozen_bytes_are_read_back_from_the_wire() -> None:
    decoders = {kind.__name__: decode for union, decode in KINDS.values() for kind in get_args(union)}
    for row in FROZEN["messages"]:
        data = bytes.fromhex(row["bytes"])
        message = decoders[row["message"]["is"]](data)
        assert readable(message) == row["message"], row["name"]


if __name__ == "__main__":
    PATH.write_text(json.dumps(made(), indent=1) + "\n", encoding="utf-8")
