"""Check every vector of this folder as a stranger would: msgpack, ecdsa and hashlib, README.md, no p2pfed.

`python -I tests/vectors/stranger.py` prints what was checked; a wrong vector is an AssertionError.
"""

from __future__ import annotations

import json
import struct
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgpack
from ecdsa import BadSignatureError, SECP256k1, SigningKey, VerifyingKey
from ecdsa.util import sigencode_string_canonize

FOLDER = Path(__file__).resolve().parent
VECTORS = json.loads((FOLDER / "messages.json").read_text(encoding="utf-8"))
LOG = json.loads((FOLDER / "wal.json").read_text(encoding="utf-8"))
TYPES = VECTORS["types"] | LOG["types"]
CHAIN_ID = bytes.fromhex(VECTORS["chain_id"])
VALIDATORS = [bytes.fromhex(key) for key in VECTORS["validators"]]
SECRETS = {bytes.fromhex(public): bytes.fromhex(secret) for public, secret in VECTORS["secrets"].items()}
LEAF_BYTES, CHUNK_BYTES = 1 << 14, 1 << 20
CHECKED: Counter[str] = Counter()


def tagged(tag: str, data: bytes) -> bytes:
    return sha256(b"p2pfed/1/" + tag.encode() + b"\0" + data).digest()


def pack(value: object) -> bytes:
    data: bytes = msgpack.packb(value, use_bin_type=True)
    return data


def plain(value: Any) -> Any:
    """Return what is packed for a value of the JSON files: a message is the array of its tag and fields."""
    if isinstance(value, dict):
        tag, fields = TYPES[value["is"]]["tag"], fields_of(value)
        return fields if tag is None else [tag, *fields]
    if isinstance(value, list):
        return [plain(item) for item in value]
    return bytes.fromhex(value[4:]) if isinstance(value, str) and value.startswith("hex:") else value


def fields_of(message: dict[str, Any]) -> list[Any]:
    assert ["is", *TYPES[message["is"]]["fields"]] == list(message)
    return [plain(message[name]) for name in TYPES[message["is"]]["fields"]]


def named(data: Any, kind: str) -> dict[str, Any]:
    """Return the fields of an unpacked message by their names."""
    tag, names = TYPES[kind]["tag"], TYPES[kind]["fields"]
    if tag is not None:
        assert data[0] == tag
        data = data[1:]
    assert len(data) == len(names)
    return dict(zip(names, data, strict=True))


# Signatures.


def digest(kind: str, body: object, chain_id: bytes) -> bytes:
    return tagged(f"sig/{kind}", chain_id + pack(body))


@lru_cache(maxsize=4096)
def is_signed(public: bytes, what: bytes, signature: bytes) -> bool:
    """Answer whether it is the one signature of a key: 64 bytes, low S."""
    if 2 * int.from_bytes(signature[32:], "big") > SECP256k1.order:
        return False
    try:
        return bool(VerifyingKey.from_string(public, SECP256k1).verify_digest(signature, what))
    except BadSignatureError:
        return False


def check_signature(public: bytes, what: bytes, signature: bytes) -> None:
    assert is_signed(public, what, signature)
    key = SigningKey.from_string(SECRETS[public], SECP256k1)
    assert key.verifying_key.to_string("compressed") == public
    assert key.sign_digest_deterministic(what, sha256, sigencode_string_canonize) == signature
    CHECKED["signatures"] += 1


def check_signed(message: dict[str, Any]) -> None:
    """A message with a signature of its own: it covers the array of the fields before it, without the tag."""
    *body, signature = fields_of(message)
    own = next((message[name] for name in ("trainer", "sender", "key") if name in message), None)
    public = plain(own) if own is not None else VALIDATORS[message["validator_index"]]
    check_signature(public, digest(TYPES[message["is"]]["signed_as"], body, CHAIN_ID), signature)


def places(bitmap: bytes, size: int) -> list[int]:
    """Bit i is byte i//8, mask 1 << (i % 8)."""
    assert len(bitmap) == (size + 7) // 8
    assert int.from_bytes(bitmap, "little") < 1 << size
    return [place for place in range(size) if bitmap[place // 8] >> place % 8 & 1]


def vote_body(cert: dict[str, Any], place: int) -> list[Any]:
    """Return what a signer of a certificate signed: a prevote names its valid round, a precommit none."""
    rounds = [cert["valid_round"]] if "valid_round" in cert else []
    return [cert["height"], cert["round"], cert["value_id"], *rounds, place]


def check_certificate(message: dict[str, Any]) -> None:
    cert = dict(zip(TYPES[message["is"]]["fields"], fields_of(message), strict=True))
    kind = "prevote" if "valid_round" in cert else "precommit"
    signers = places(cert["bitmap"], len(VALIDATORS))
    assert 3 * len(signers) > 2 * len(VALIDATORS)  # Each has the same stake here.
    for place, signature in zip(signers, cert["signatures"], strict=True):
        check_signature(VALIDATORS[place], digest(kind, vote_body(cert, place), CHAIN_ID), signature)


# Trees.


def merkle(leaves: list[bytes]) -> bytes:
    return tree([sha256(b"\0" + leaf).digest() for leaf in leaves])


def tree(hashes: list[bytes]) -> bytes:
    if not hashes:
        return sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while 2 * split < len(hashes):
        split *= 2
    return sha256(b"\1" + tree(hashes[:split]) + tree(hashes[split:])).digest()


def blob_root(data: bytes) -> bytes:
    return merkle([data[start : start + LEAF_BYTES] for start in range(0, len(data), LEAF_BYTES)])


def climb(node: bytes, index: int, count: int, path: list[bytes]) -> bytes | None:
    """Return the root that a path leads to; at an odd end a node has no sibling and is lifted."""
    last, siblings = count - 1, iter(path)
    while last > 0:
        if index & 1 or index < last:
            sibling = next(siblings, None)
            if sibling is None:
                return None
            node = sha256(b"\1" + (sibling + node if index & 1 else node + sibling)).digest()
        index, last = index >> 1, last >> 1
    return node if next(siblings, None) is None else None


def shows(proof: dict[str, Any], root: bytes, key: bytes, key_of: Any) -> bytes | None:
    """Return the leaf of a key, None where the neighbours are shown instead."""
    leaves = proof["leaves"]
    if not leaves:
        assert root == sha256(b"").digest()
        return None
    for offset, (leaf, path) in enumerate(zip(leaves, proof["paths"], strict=True)):
        assert climb(sha256(b"\0" + leaf).digest(), proof["index"] + offset, proof["count"], path) == root
    keys = [key_of(leaf) for leaf in leaves]
    if keys == [key]:
        found: bytes = leaves[0]
        return found
    if len(keys) == 2:
        assert keys[0] < key < keys[1]
    else:
        is_first, is_last = proof["index"] == 0, proof["index"] == proof["count"] - 1
        assert (is_first and key < keys[0]) or (is_last and keys[0] < key)
    return None


# What is checked.


def messages_in(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every message inside a value, itself too."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from messages_in(item)


def check_messages() -> None:
    for row in VECTORS["messages"]:
        assert pack(plain(row["message"])).hex() == row["bytes"], row["name"]
        assert msgpack.unpackb(bytes.fromhex(row["bytes"])) == plain(row["message"]), row["name"]
        CHECKED["messages"] += 1
        for message in messages_in(row["message"]):
            if TYPES[message["is"]]["signed_as"]:
                check_signed(message)
            elif message["is"] in ("PolkaCert", "CommitCert"):
                check_certificate(message)


def voters_of(founding: dict[str, Any]) -> list[list[Any]]:
    """Return who votes on the first block: who has a bond, and no role or one that votes."""
    members = founding["participants"]
    return sorted([key, bond] for key, bond, _, *role in members if bond and role != ["trainer"])


def check_digests() -> None:
    """The names by which messages point at each other."""
    rows = {row["name"]: row["message"] for row in VECTORS["messages"]}
    block, following = rows["blocks"]["blocks"]
    header, body = block["header"], block["body"]
    genesis = plain(rows["genesis"]["data"])
    founding = named(msgpack.unpackb(genesis), "Genesis")
    powers = voters_of(founding)
    assert [key for key, _ in powers] == VALIDATORS
    other = plain(rows["genesis with roles"]["data"])
    others = voters_of(named(msgpack.unpackb(other), "Genesis"))
    assert [key for key, _ in others] == [VALIDATORS[0], VALIDATORS[3]]
    names = {
        "chain_id of the genesis": tagged("genesis", genesis),
        "params_hash of the header": tagged("params", pack(founding["params"])),
        "validators_hash of the header": tagged("vals", pack([powers])),
        "value_id of the header": tagged("hdr", pack(plain(header))),
        "update_id of the first update of the block": update_id(plain(body["updates"][0])),
        "updates_root of the block": merkle([pack(item) for item in plain(body["updates"])]),
        "transactions_root of the block": merkle([pack(item) for item in plain(body["transactions"])]),
        "evidence_root of the block": merkle([pack(item) for item in plain(body["evidence"])]),
        "body_hash of the block": blob_root(pack(plain(body))),
        "state_root after the block": plain(header["state_root"]),  # A proof leads to it, below.
        "root of the blob": blob_root(bytes(place % 251 for place in range(CHUNK_BYTES + 100))),
        "chain_id of the genesis with roles": tagged("genesis", other),
        "validators_hash of the genesis with roles": tagged("vals", pack([others])),
    }
    assert {name: found.hex() for name, found in names.items()} == VECTORS["digests"]
    for name in ("validators_hash", "params_hash", "updates_root", "transactions_root", "evidence_root"):
        found = names[f"{name} of the {'block' if name.endswith('_root') else 'header'}"]
        assert plain(header[name]) == found
    assert plain(header["body_hash"]) == names["body_hash of the block"]
    assert plain(header["avail_root"]) == merkle([pack(item) for item in plain(body["avails"])])
    assert names["chain_id of the genesis"] == CHAIN_ID
    assert plain(block["commit"]["value_id"]) == names["value_id of the header"]
    assert plain(header["prev_commit_hash"]) == plain(header["prev_header_hash"]) == bytes(32)
    assert plain(following["header"]["prev_header_hash"]) == names["value_id of the header"]
    assert plain(following["header"]["prev_commit_hash"]) == tagged("commit", pack(plain(block["commit"])))
    for entry in body[
        "avails"
    ]:  # In a block the ids are bits over the candidates; what was signed is the same.
        listed = [plain(body["candidates"])[place] for place in places(plain(entry["bitmap"]), 4)]
        signed = [header["height"], entry["attempt"], entry["validator_index"], list_hash(listed)]
        what = digest("avail", [*signed, entry["count"], entry["time_ms"]], CHAIN_ID)
        check_signature(VALIDATORS[entry["validator_index"]], what, plain(entry["signature"]))
    message = rows["availability vote"]
    assert plain(message["avail"]["list_hash"]) == list_hash(plain(message["update_ids"]))
    chunk = rows["chunk"]
    node = blob_root(plain(chunk["data"]))  # At most 64 leaves: the node over them.
    assert climb(node, 1, chunk["count"], plain(chunk["path"])) == names["root of the blob"]
    ask = rows["ask for a proof"]
    proof = dict(zip(TYPES["ListProof"]["fields"], fields_of(rows["proof"]), strict=True))
    state_root, key = names["state_root after the block"], plain(ask["key"])
    assert shows(proof, state_root, key, lambda leaf: msgpack.unpackb(leaf)[0]) is not None
    proof = dict(zip(TYPES["ListProof"]["fields"], fields_of(rows["proof of absence"]), strict=True))
    root = plain(header["updates_root"])
    assert shows(proof, root, bytes(32), lambda leaf: update_id(msgpack.unpackb(leaf))) is None
    CHECKED["digests"] += len(names)


def update_id(update: list[Any]) -> bytes:
    """An update is named by what its trainer signed: no tag, no signature."""
    return tagged("upd", pack(update[1:-1]))


def list_hash(ids: list[bytes]) -> bytes:
    assert ids == sorted(set(ids))
    return tagged("list", b"".join(ids))


def check_evidence() -> None:
    """Each proof names one key, and its two messages can't both be an honest one's."""
    frozen = json.loads((FOLDER / "evidence.json").read_text(encoding="utf-8"))
    chain_id = bytes.fromhex(frozen["chain_id"])
    for name, row in frozen["proofs"].items():
        proof = named(msgpack.unpackb(bytes.fromhex(row["bytes"])), name)
        by_tag = {kind["tag"]: (what, kind["signed_as"]) for what, kind in TYPES.items() if kind["tag"]}
        said = [value for value in proof.values() if isinstance(value, list) and value and value[0] in by_tag]
        for message in said:
            *body, signature = message[1:]
            what = digest(by_tag[message[0]][1], body, chain_id)
            assert is_signed(bytes.fromhex(row["culprit"]), what, signature), name
        fields = [named(message, by_tag[message[0]][0]) for message in said]
        assert contradicts(name, proof, fields), name
        if name.startswith("Duplicate"):
            assert pack(said[0]) < pack(said[1])  # One lie, one proof.
        assert proof.get("signer", bytes.fromhex(row["culprit"])).hex() == row["culprit"]
        CHECKED["evidence"] += 1


def contradicts(name: str, proof: dict[str, Any], said: list[dict[str, Any]]) -> bool:
    place = {"DuplicateUpdate": ("trainer", "base_height"), "DuplicateAvail": ("height", "attempt")}
    if name == "InvalidUpdate":  # A leaf of the payload with an element of -32768.
        leaf, count = proof["leaf"], -(-said[0]["payload_bytes"] // LEAF_BYTES)
        node = sha256(b"\0" + leaf).digest()
        assert climb(node, proof["index"], count, proof["path"]) == said[0]["payload_root"]
        return any(leaf[at : at + 2] == b"\x00\x80" for at in range(0, len(leaf), 2))
    if name == "LightClientAttack":  # Two headers of one height that no chain has both of.
        headers = [named(msgpack.unpackb(proof[part]), "Header") for part in ("header", "other_header")]
        votes = zip((proof["header"], proof["other_header"]), said, strict=True)
        assert all(tagged("hdr", data) == vote["value_id"] for data, vote in votes)
        fields = ("prev_header_hash", "validators_hash", "next_validators_hash", "params_hash")
        is_one = headers[0]["height"] == headers[1]["height"]
        return is_one and any(headers[0][field] != headers[1][field] for field in fields)
    first, second = said
    if name == "Amnesia":
        is_one = (first["height"], first["validator_index"]) == (second["height"], second["validator_index"])
        is_for_values = first["value_id"] is not None and second["value_id"] is not None
        return is_one and is_for_values and second["valid_round"] < first["round"] < second["round"]
    names = place.get(name, ("height", "round", "validator_index"))
    is_one = all(first[field] == second[field] for field in names)
    for message in said:
        del message["signature"]
    return is_one and first != second


def check_light() -> None:
    """Every step of a light client (docs/spec/light.md LC5 to LC8), and every proof over a small list."""
    frozen = json.loads((FOLDER / "light.json").read_text(encoding="utf-8"))
    for step in frozen["steps"]:
        assert light_outcome(step, frozen) == step["outcome"], step["name"]
        CHECKED["light steps"] += 1
    for row in frozen["proofs"]:
        proof = named(msgpack.unpackb(bytes.fromhex(row["proof"])), "ListProof")
        found = shows(proof, bytes.fromhex(row["root"]), bytes.fromhex(row["key"]), lambda leaf: leaf)
        assert row["found"] == (None if found is None else found.hex())
        CHECKED["light proofs"] += 1


def light_outcome(step: dict[str, Any], frozen: dict[str, Any]) -> str:
    start, now_ms, chain_id = frozen["trusted"], step["now_ms"], bytes.fromhex(frozen["chain_id"])
    if now_ms - start["time_ms"] >= frozen["trusting_ms"]:  # LC8
        return "expired"
    block = named(msgpack.unpackb(bytes.fromhex(step["block"])), "LightBlock")
    header, cert = named(block["header"], "Header"), named(block["commit"], "CommitCert")
    value_id = tagged("hdr", pack(block["header"]))
    powers, after = (dict(block[name][0]) for name in ("validators", "next_validators"))
    is_formed = (  # LC5
        header["chain_id"] == chain_id
        and header["height"] == cert["height"] == step["height"]
        and cert["value_id"] == value_id
        and header["validators_hash"] == tagged("vals", pack(block["validators"]))
        and header["next_validators_hash"] == tagged("vals", pack(block["next_validators"]))
        and all(list(one) == sorted(one) for one in (powers, after))
        and header["time_ms"] <= now_ms + 10_000
    )
    if not is_formed:
        return "refused"
    signers = places(cert["bitmap"], len(powers))
    keys = [list(powers)[place] for place in signers]
    known = dict(msgpack.unpackb(bytes.fromhex(start["next_validators"]))[0])
    is_next = header["height"] == start["height"] + 1
    if not is_next and 3 * sum(known.get(key, 0) for key in keys) <= sum(known.values()):  # LC6
        return f"asks for {(start['height'] + header['height']) // 2}"
    hash_of_known = tagged("vals", bytes.fromhex(start["next_validators"]))
    follows = (
        header["validators_hash"] == hash_of_known and header["prev_header_hash"].hex() == start["value_id"]
    )
    is_certified = 3 * sum(powers[key] for key in keys) > 2 * sum(powers.values()) and all(
        is_signed(key, digest("precommit", vote_body(cert, place), chain_id), signature)
        for key, place, signature in zip(keys, signers, cert["signatures"], strict=True)
    )
    is_good = header["time_ms"] > start["time_ms"] and (follows or not is_next) and is_certified  # LC7
    return "believed" if is_good else "refused"


def check_handshake() -> None:
    for role, row in VECTORS["handshake"].items():
        transcript = row["transcript"]
        assert transcript["role"] == role
        assert pack(plain(transcript)).hex() == row["bytes"]
        what = digest("hello", plain(transcript), CHAIN_ID)
        check_signature(plain(transcript[role]["key"]), what, bytes.fromhex(row["signature"]))


def check_log() -> None:
    """The frames of the write-ahead log (docs/spec/storage.md S30, S31), and where a reader stops."""
    file = b""
    for seq, row in enumerate(LOG["frames"]):
        payload = pack([seq, row["kind"], plain(row["body"])])
        sized = struct.pack(">I", len(payload)) + payload
        assert (struct.pack(">I", zlib.crc32(sized)) + sized).hex() == row["frame"], row["name"]
        assert row["kind"] != "log" or plain(row["body"]) == [1, CHAIN_ID]
        for message in messages_in(row["body"]):
            if TYPES[message["is"]]["signed_as"]:
                check_signed(message)
        file += bytes.fromhex(row["frame"])
        CHECKED["frames"] += 1
    assert sound_frames(file) == len(LOG["frames"])
    for row in LOG["reads"]:
        assert sound_frames(bytes.fromhex(row["file"])) == row["frames"], row["name"]
        CHECKED["logs"] += 1


def sound_frames(data: bytes) -> int:
    """Count the frames from the beginning on whose length, checksum and number are right."""
    count, expected = 0, None
    while len(data) >= 8:
        checksum, length = struct.unpack(">II", data[:8])
        if not 0 < length <= 1 << 20 or 8 + length > len(data):
            break
        if zlib.crc32(data[4 : 8 + length]) != checksum:
            break
        seq = msgpack.unpackb(data[8 : 8 + length])[0]
        if expected not in (None, seq):
            break
        count, expected, data = count + 1, seq + 1, data[8 + length :]
    return count


def main() -> None:
    for check in (check_messages, check_digests, check_evidence, check_light, check_handshake, check_log):
        check()
    assert not [name for name in sys.modules if name.split(".")[0] == "p2pfed"]
    print(json.dumps(dict(CHECKED)))


if __name__ == "__main__":
    main()
