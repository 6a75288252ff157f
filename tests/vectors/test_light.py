"""Steps of a light client, frozen for other implementations: what is trusted, what is told, what follows.

`python tests/vectors/test_light.py` writes light.json anew, which needs the spec and a decision record first.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.light import CHAIN_ID, DAY_MS, RULES, START_MS, LightChain, certified, powers_to_set

from p2pfed.chain.light import Rules, Search, Trusted, TrustExpired, tell
from p2pfed.chain.proofs import find, prove
from p2pfed.errors import InvalidCertificate, InvalidLightBlock
from p2pfed.primitives import codec
from p2pfed.primitives.merkle import root
from p2pfed.types.light import LightBlock, ListProof
from p2pfed.types.validators import ValidatorSet

PATH = Path(__file__).with_name("light.json")
FOUR = [(number, 1) for number in range(4)]
CHAIN = LightChain(lambda height: FOUR)
NOW_MS = START_MS + 60_000
BYTES_MAX = 100_000


def made_steps() -> list[dict[str, Any]]:
    """Return each step without its outcome."""
    one_left = [(0, 1), (7, 1), (8, 1), (9, 1)]
    own = certified(
        CHAIN.header(9, validators_hash=powers_to_set(one_left).hash), one_left, CHAIN.validators(10)
    )
    block = CHAIN.block(9)
    swapped = msgspec.structs.replace(block.commit, signatures=block.commit.signatures[::-1])
    told = {
        "nine heights at once": (block, NOW_MS),
        "the next height": (CHAIN.block(1), NOW_MS),
        "three of four signed": (CHAIN.block(9, signers=(0, 1, 2)), NOW_MS),
        "two of four signed": (CHAIN.block(9, signers=(0, 1)), NOW_MS),
        "signatures in another order": (msgspec.structs.replace(block, commit=swapped), NOW_MS),
        "one of four is known": (own, NOW_MS),
        "another set at the next height": (
            certified(CHAIN.header(1, validators_hash=own.validators.hash), one_left, CHAIN.validators(2)),
            NOW_MS,
        ),
        "another parent": (CHAIN.block(1, prev_header_hash=bytes([1]) * 32), NOW_MS),
        "another network": (CHAIN.block(9, chain_id=bytes(32)), NOW_MS),
        "not later": (CHAIN.block(9, time_ms=START_MS), NOW_MS),
        "from the future": (block, START_MS + 9_000 - 10_001),
        "trusted too long ago": (block, START_MS + 2 * DAY_MS),
    }
    return [
        {"name": name, "now_ms": now_ms, "height": block.header.height, "block": codec.encode(block).hex()}
        for name, (block, now_ms) in told.items()
    ]


def made_proofs() -> list[dict[str, Any]]:
    """Return each proof over lists of 0 to 5 keys without its outcome."""
    rows = []
    for size in range(6):
        keys = [bytes([2 * place + 1]) for place in range(size)]
        for number in range(2 * size + 1):
            key = bytes([number])
            proof = codec.encode(prove(keys, keys, key))
            rows.append({"root": root(keys).hex(), "key": key.hex(), "proof": proof.hex()})
    return rows


def outcome(step: dict[str, Any], vectors: dict[str, Any]) -> str:
    """Return what a light client that trusts the vectors' start makes of a step."""
    start = vectors["trusted"]
    trusted = Trusted(
        start["height"],
        start["time_ms"],
        bytes.fromhex(start["value_id"]),
        codec.decode(bytes.fromhex(start["next_validators"]), ValidatorSet, BYTES_MAX),
    )
    block = codec.decode(bytes.fromhex(step["block"]), LightBlock, BYTES_MAX)
    rules = Rules(bytes.fromhex(vectors["chain_id"]), vectors["trusting_ms"], bytes(32))
    try:
        search, _ = tell(Search(trusted, step["height"]), block, rules, step["now_ms"])
    except (InvalidCertificate, InvalidLightBlock):
        return "refused"
    except TrustExpired:
        return "expired"
    return "believed" if search.wanted is None else f"asks for {search.wanted}"


def found(row: dict[str, Any]) -> str | None:
    """Return the leaf that a proof shows, None where it shows that there is none."""
    proof = codec.decode(bytes.fromhex(row["proof"]), ListProof, BYTES_MAX)
    leaf = find(proof, bytes.fromhex(row["root"]), bytes.fromhex(row["key"]), lambda leaf: leaf)
    return None if leaf is None else leaf.hex()


def made() -> dict[str, Any]:
    genesis = CHAIN.genesis
    vectors: dict[str, Any] = {
        "chain_id": CHAIN_ID.hex(),
        "trusting_ms": RULES.trusting_ms,
        "trusted": {
            "height": 0,
            "time_ms": genesis.time_ms,
            "value_id": genesis.value_id.hex(),
            "next_validators": codec.encode(genesis.next_validators).hex(),
        },
    }
    vectors["steps"] = [step | {"outcome": outcome(step, vectors)} for step in made_steps()]
    vectors["proofs"] = [row | {"found": found(row)} for row in made_proofs()]
    return vectors


def test_every_step_of_a_light_client_is_the_frozen_one() -> None:
    frozen = json.loads(PATH.read_text(encoding="utf-8"))
    assert made() == frozen
    assert [step["outcome"] for step in frozen["steps"]] == [
        "believed", "believed", "believed", "refused", "refused", "asks for 4",
        "refused", "refused", "refused", "refused", "refused", "expired",
    ]  # fmt: skip


def test_the_frozen_steps_and_proofs_are_read_back_from_their_bytes_alone() -> None:
    frozen = json.loads(PATH.read_text(encoding="utf-8"))
    for step in frozen["steps"]:
        assert outcome(step, frozen) == step["outcome"], step["name"]
    for row in frozen["proofs"]:
        assert found(row) == row["found"]


if __name__ == "__main__":
    PATH.write_text(json.dumps(made(), indent=1) + "\n", encoding="utf-8")
