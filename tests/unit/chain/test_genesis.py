"""A genesis that can't keep its promises is refused before anybody starts, with the numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from support.chain import BALANCE, World, make_genesis, private_keys, small_manifest
from support.mutate import mutations

from p2pfed.chain.form import parse_codec
from p2pfed.chain.genesis import (
    GENESIS_JSON_BYTES_MAX,
    decode_genesis,
    dump_genesis,
    load_genesis,
    verify_genesis,
)
from p2pfed.errors import LocalError, MalformedMessage
from p2pfed.primitives import codec
from p2pfed.primitives.digest import tagged
from p2pfed.types.genesis import PARAMS_ALWAYS, Genesis, Participant, encode_genesis, spelled_params
from p2pfed.types.model import Manifest
from p2pfed.types.params import STAKE_TOTAL_MAX

EQUAL = [100] * 4
replace = msgspec.structs.replace


def test_json_and_canonical_bytes_tell_the_same_genesis() -> None:
    genesis = make_genesis(EQUAL, name="Zürich 模型")
    verify_genesis(genesis)
    again = load_genesis(dump_genesis(genesis).encode())
    assert again == genesis
    assert again.chain_id == genesis.chain_id
    assert decode_genesis(encode_genesis(genesis)) == genesis
    assert f'"0x{genesis.model_root.hex()}"' in dump_genesis(genesis)
    assert dump_genesis(genesis).endswith("}\n")


def test_every_leaf_of_a_genesis_is_in_its_json_and_its_chain_id() -> None:
    genesis = make_genesis(EQUAL)
    texts, ids = {dump_genesis(genesis)}, {genesis.chain_id}
    changed = [mutated for _, mutated in mutations(genesis)]
    for mutated in changed:
        texts.add(dump_genesis(mutated))
        ids.add(mutated.chain_id)
    assert len(texts) == len(ids) == len(changed) + 1


def edited(change: Callable[[dict[str, Any]], object]) -> bytes:
    plain = json.loads(dump_genesis(make_genesis(EQUAL)))
    change(plain)
    return json.dumps(plain).encode()


def put(*path: Any, value: Any) -> bytes:
    """Return genesis.json with another value at `path`."""

    def change(plain: dict[str, Any]) -> None:
        place: Any = plain
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return edited(change)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (put("parmas", value={}), "genesis has no key 'parmas'; the nearest is 'params'"),
        (put("params", "update_min", value=1), "no key 'update_min'; the nearest is 'updates_min'"),
        (put("participants", 2, "bnd", value=1), r"s\[2\] has no key 'bnd'; the nearest is 'bond'"),
        (put("", value=1), "has no key ''"),
        (edited(lambda plain: plain.pop("name")), "genesis lacks the key 'name'"),
        (edited(lambda plain: plain["params"].pop("rules")), "genesis.params lacks the key 'rules'"),
        (put("model_root", value="ab" * 32), "genesis.model_root must be"),
        (put("model_root", value="0xzz"), "genesis.model_root must be"),
        (put("model_root", value="0x" + "AB" * 32), "genesis.model_root must be"),
        (put("model_root", value="0x" + " ab" * 32), "genesis.model_root must be"),
        (put("model_root", value=7), "genesis.model_root must be"),
        (put("model_root", value="0xab"), "length >= 32"),
        (put("participants", 0, "key", value="0x02"), "length >= 33"),
        (put("participants", 0, "bond", value=-1), ">= 0"),
        (put("participants", 0, "bond", value=1.0), "Expected `int`"),
        (put("participants", 0, "bond", value=True), "Expected `int`"),
        (put("participants", 0, "bond", value="1"), "Expected `int`"),
        (put("participants", 0, "bond", value=1 << 61), "<= "),
        (put("participants", value=[]), "length >= 1"),
        (put("participants", value={}), "Expected `array`"),
        (put("participants", value=7), "Expected `array`, got `int`"),
        (put("participants", 0, value=[]), r"genesis.participants\[0\] must be an object"),
        (put("params", "preset", value="moon"), "Invalid enum value 'moon'"),
        (put("params", "update_bits", value=15), "<= 14"),
        (put("model_exponents", value=[31, 0]), "<= 30"),
        (put("version", value=2), "Invalid enum value 2"),
        (put("name", value="\ud800"), "surrogates not allowed"),
        (b"[]", "genesis must be an object"),
        (b"{", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"version": 1, "name": 1, "name": 2}', "has the key 'name' twice"),
        (b" " * (GENESIS_JSON_BYTES_MAX + 1), "at most"),
        (b" " * GENESIS_JSON_BYTES_MAX, "is not JSON"),
    ],
)  # fmt: skip
def test_a_slip_in_the_file_is_named_with_its_place(data: bytes, text: str) -> None:
    with pytest.raises(LocalError, match=text):
        load_genesis(data)


def test_canonical_bytes_have_one_spelling() -> None:
    data = codec.encode(make_genesis(EQUAL))
    for bad in (data[:-1], data + b"\x00", b"", b"\x90"):
        with pytest.raises(MalformedMessage):
            decode_genesis(bad)


def with_participants(*participants: Participant) -> Genesis:
    return make_genesis(EQUAL, participants=participants)


def people(count: int, bond: int = 1) -> list[Participant]:
    return [Participant(key.public, bond, 0) for key in private_keys(count)]


A, B, C = people(3)
TWO_ARRAYS = small_manifest().arrays


@pytest.mark.parametrize(
    ("genesis", "text"),
    [
        (with_participants(A, A, B), "is listed twice"),
        (with_participants(B, A, C), "not in ascending order"),
        (with_participants(Participant(bytes(33), 1, 0), A), "is no compressed"),
        (with_participants(A, B, Participant(bytes([5]) * 33, 1, 0)), "is no compressed"),
        (with_participants(*people(401)), "401 participants have a bond to vote; at most 400 can"),
        (make_genesis(EQUAL, roles=["4:trainer"]), "no participant has a bond to vote with"),
        (make_genesis([5, 4], bond_min=5), "a bond of 4; bond_min is 5"),
        (make_genesis([0, 0]), "no participant has a bond to vote with"),
        (make_genesis(EQUAL, roles=["4:validator"], updates_min=1), "updates_min is 1, but only 0"),
        (make_genesis([9, 9, 9, 1, 1, 9], roles=["3:validator"]), "can't stand 2 liars among 3"),
        (with_participants(replace(A, bond=1 << 60), B), "at most 1152921504606846976"),
        (with_participants(replace(A, balance=1 << 60), B), "at most 1152921504606846976"),
        (make_genesis(EQUAL, model_exponents=(20,)), "1 model_exponents for a model of 2 groups"),
        (make_genesis(EQUAL, update_exponents=(1, 2, 3)), "3 update_exponents for a model of 2 groups"),
        (make_genesis(EQUAL, update_exponents=(14, 6)), "exponent 21 and update exponent 6; they may be 14"),
        (make_genesis(EQUAL, manifest=Manifest((TWO_ARRAYS[0], TWO_ARRAYS[0]))), "the same name"),
        (make_genesis(EQUAL, rules=("krumm",)), "no aggregation rule 'krumm'"),
        (make_genesis(EQUAL, rules=("mean", "median", "mean")), "a rule is listed twice"),
        (make_genesis(EQUAL, height_first=9, height_final=8), "end at height 8, before its first block, 9"),
        (make_genesis(EQUAL, updates_min=5), "updates_min is 5, but only 4"),
        (make_genesis([1, 1, 1, 100]), "can't stand 3 liars among 4 trainers"),
        (make_genesis([1, 1, 3, 3], rules=("mean", "median")), "rule median can't stand 2 liars among 4"),
        (make_genesis(EQUAL, rules=("bulyan",)), r"4 trainers: it needs 4f \+ 3 <= n, with n = 4 and f = 1"),
        (make_genesis(EQUAL, rules=("bucketing+median",)), r"leaves 2 rows\): it needs 2f < n, with n = 2"),
        (make_genesis(EQUAL, rules=("median", "mda")), "rule mda may decline some updates, and no"),
        (make_genesis(EQUAL, rules=("nnm+clip+median",)), "has clip after nnm"),
        (make_genesis(EQUAL, rules=("cosine_to_previous", "median")), "which blocks do not carry"),
    ],
)  # fmt: skip
def test_a_genesis_that_cannot_work_is_refused_with_the_numbers(genesis: Genesis, text: str) -> None:
    with pytest.raises(LocalError, match=text):
        verify_genesis(genesis)


@pytest.mark.parametrize(
    "genesis",
    [
        make_genesis([1], updates_min=1),
        make_genesis([1, 1, 1]),
        make_genesis([5, 5, 5, 0], bond_min=5),
        make_genesis(EQUAL, emission=STAKE_TOTAL_MAX - 4 * (EQUAL[0] + BALANCE)),
        make_genesis([1, 1, 1, 100], rules=("mean",)),
        make_genesis([20, 20, 20, 10, 10, 10, 10]),
        make_genesis(EQUAL, update_exponents=(6, 7)),
        make_genesis(EQUAL, updates_min=4),
        make_genesis(EQUAL, height_first=9, height_final=9),
        make_genesis(EQUAL, height_first=1 << 40),
        make_genesis(EQUAL, rules=("arc+nnm+mda", "median")),
    ],
)
def test_what_can_work_is_let_through(genesis: Genesis) -> None:
    verify_genesis(genesis)


def test_liars_must_hold_less_than_a_third() -> None:
    world = World([100] * 6)
    verify_genesis(world.genesis, world.publics[:1])
    verify_genesis(world.genesis, ())
    with pytest.raises(LocalError, match="hold 200 of 600: agreement needs less than a third"):
        verify_genesis(world.genesis, world.publics[:2])
    verify_genesis(World([100] * 7).genesis, World([100] * 7).publics[:2])


def test_a_genesis_fits_its_limit_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    genesis = make_genesis(EQUAL)
    size = len(encode_genesis(genesis))
    monkeypatch.setattr("p2pfed.chain.genesis.GENESIS_BYTES_MAX", size)
    verify_genesis(genesis)
    monkeypatch.setattr("p2pfed.chain.genesis.GENESIS_BYTES_MAX", size - 1)
    with pytest.raises(LocalError, match=f"longer than {size - 1} bytes"):
        verify_genesis(genesis)


def test_only_bonds_take_seats(monkeypatch: pytest.MonkeyPatch) -> None:
    genesis = make_genesis([*EQUAL, 0])
    monkeypatch.setattr("p2pfed.chain.genesis.VALIDATORS_MAX", 4)
    verify_genesis(genesis)
    monkeypatch.setattr("p2pfed.chain.genesis.VALIDATORS_MAX", 3)
    with pytest.raises(LocalError, match="4 participants have a bond to vote; at most 3 can"):
        verify_genesis(genesis)


def test_a_choice_that_came_later_is_spelled_only_where_it_was_made() -> None:
    plain, chosen = make_genesis(EQUAL), make_genesis(EQUAL, update_lag=3)
    assert "update_lag" not in json.loads(dump_genesis(plain))["params"]
    assert json.loads(dump_genesis(chosen))["params"]["update_lag"] == 3
    assert len(spelled_params(plain.params)) == PARAMS_ALWAYS
    for genesis in (plain, chosen):
        assert load_genesis(dump_genesis(genesis).encode()) == genesis
        assert decode_genesis(encode_genesis(genesis)) == genesis
    with pytest.raises(MalformedMessage):
        decode_genesis(codec.encode(plain))  # Its default is spelled out.
    # Networks that were founded before there was a choice keep their name.
    values = list(msgspec.structs.astuple(plain))
    values[4] = msgspec.structs.astuple(plain.params)[:9]
    values[5] = [msgspec.structs.astuple(participant)[:3] for participant in plain.participants]
    assert plain.chain_id == tagged("genesis", codec.encode(values))


def test_more_late_trainers_than_votes_have_room_for_are_refused() -> None:
    verify_genesis(make_genesis([1] * 128, update_lag=4))
    with pytest.raises(LocalError, match=r"129 trainers with update_lag 4.*1024 updates.*at most 128"):
        verify_genesis(make_genesis([1] * 129, update_lag=4))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"codec": "top_k"}, "top_k sends one coordinate in 1; that must be 2 or more"),
        ({"codec": "int8", "codec_one_in": 5}, "int8 sends one coordinate in 5; that must be 1"),
        ({"codec": "rand_k", "codec_one_in": 9, "update_lag": 2}, "rand_k with update_lag 2"),
        ({"codec": "top_k", "codec_one_in": 9}, "rule clip_nnm_trimmed_mean compares.*most are 0"),
        ({"codec": "sign", "rules": ("median",)}, "rule median compares.*all have one size"),
        ({"codec": "sign", "rules": ("krum", "bulyan")}, "rule bulyan"),
    ],
)
def test_a_codec_that_does_not_suit_is_refused_with_the_reason(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(LocalError, match=text):
        verify_genesis(make_genesis([100] * 7, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"codec": "int4", "update_lag": 4},
        {"codec": "rand_k", "codec_one_in": 100},
        {"codec": "top_k", "codec_one_in": 100, "rules": ("clip+nnm+geometric_median", "mean")},
        {"codec": "sign", "rules": ("sign_majority",)},
    ],
)
def test_a_codec_that_suits_is_let_through(changes: dict[str, Any]) -> None:
    verify_genesis(make_genesis(EQUAL, **changes))


def test_a_codec_is_spelled_by_its_name_and_for_sparse_ones_a_number() -> None:
    assert [parse_codec(text) for text in ("int16", "sign", "top_k:2", "rand_k:4096")] == [
        ("int16", 1), ("sign", 1), ("top_k", 2), ("rand_k", 4096),
    ]  # fmt: skip
    for text in ("int7", "", "int8:2", "int8:", "top_k", "top_k:1", "top_k:4097", "rand_k:x", "rand_k:٣",
                 "top_k:" + 5000 * "9"):  # fmt: skip
        with pytest.raises(LocalError, match="codec"):
            parse_codec(text)
