"""Check a genesis, and read and write it: canonical bytes for the network, genesis.json for people."""

from __future__ import annotations

import json
from collections.abc import Collection
from difflib import get_close_matches
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec

from p2pfed.aggregation.catalogue import NamedRule, named_rule, verify_rules
from p2pfed.aggregation.engine import faulty_max
from p2pfed.aggregation.payload import OF_OWN_CHOICE, SPARSE, WITH_FEEDBACK
from p2pfed.errors import LocalError
from p2pfed.primitives import codec
from p2pfed.primitives.keys import is_public_key
from p2pfed.types.availability import IDS_MAX
from p2pfed.types.genesis import (
    BOTH,
    PARAMS_ALWAYS,
    PARTICIPANT_ALWAYS,
    Genesis,
    Params,
    Participant,
    encode_genesis,
)
from p2pfed.types.model import verify_manifest
from p2pfed.types.params import (
    EXPONENT_GAP_MAX,
    GENESIS_BYTES_MAX,
    STAKE_TOTAL_MAX,
    UPDATES_MAX,
    VALIDATORS_MAX,
)

# Hexadecimal, names of fields and indentation make the text a few times longer than the canonical bytes.
GENESIS_JSON_BYTES_MAX = 8 * GENESIS_BYTES_MAX


def decode_genesis(data: bytes) -> Genesis:
    """Return the genesis in canonical bytes; raises MalformedMessage. `verify_genesis` checks its meaning."""
    return codec.decode(
        data, Genesis, GENESIS_BYTES_MAX, lambda genesis, data: encode_genesis(genesis) == data
    )


def load_genesis(data: bytes) -> Genesis:
    """Return the genesis in the bytes of a genesis.json; `verify_genesis` checks its meaning.

    Raises:
        LocalError: Not JSON, a key unknown, missing or twice, or a value out of its range; says where.
    """
    if len(data) > GENESIS_JSON_BYTES_MAX:
        raise LocalError(f"genesis.json has {len(data)} bytes; at most {GENESIS_JSON_BYTES_MAX} are allowed")
    try:
        plain = json.loads(data, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise LocalError(f"genesis.json is not JSON: {error}") from None
    codec.prepared(Genesis)
    try:
        genesis = msgspec.convert(_positional(Genesis, plain, "genesis"), Genesis, strict=True)
        encode_genesis(genesis)  # JSON can spell half a character, which has no canonical bytes.
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise LocalError(f"genesis.json: {error}") from None
    return genesis


def dump_genesis(genesis: Genesis) -> str:
    """Return genesis.json: objects with the names of fields, bytes as "0x…"; `load_genesis` reads it back.

    A choice that came later stands there only where it is another than the one networks had before it.
    """
    named = _named(genesis)
    for field in msgspec.structs.fields(Params)[PARAMS_ALWAYS:]:
        if getattr(genesis.params, field.name) == field.default:
            del named["params"][field.name]
    for participant in named["participants"]:
        if participant["role"] == BOTH:
            del participant["role"]
    return json.dumps(named, indent=2, ensure_ascii=False) + "\n"


def verify_genesis(genesis: Genesis, byzantine: Collection[bytes] = ()) -> None:
    """Check that a network can start from `genesis` and keep its promises.

    Args:
        genesis: Of the right shape.
        byzantine: Keys of participants that are known to lie, in a demonstration or a test.

    Raises:
        LocalError: The first thing that is wrong, with the numbers that disagree.
    """
    if len(encode_genesis(genesis)) > GENESIS_BYTES_MAX:
        raise LocalError(f"genesis is longer than {GENESIS_BYTES_MAX} bytes")
    _verify_heights(genesis)
    _verify_participants(genesis)
    _verify_model(genesis)
    _verify_rules(genesis)
    _verify_codec(genesis.params)
    _verify_byzantine(genesis, byzantine)


def _verify_heights(genesis: Genesis) -> None:
    first, final = genesis.params.height_first, genesis.params.height_final
    if 0 < final < first:
        raise LocalError(f"the network would end at height {final}, before its first block, {first}")


def _verify_participants(genesis: Genesis) -> None:
    keys = [participant.key for participant in genesis.participants]
    for first, second in pairwise(keys):
        if first == second:
            raise LocalError(f"participant {first.hex()} is listed twice")
        if first > second:
            raise LocalError(f"participants are not in ascending order of key: {second.hex()} comes late")
    for key in keys:
        if not is_public_key(key):
            raise LocalError(f"participant {key.hex()} is no compressed secp256k1 public key")
    bonded = [participant for participant in genesis.participants if participant.bond]
    for does, count, most in (
        ("vote", sum(one.votes for one in bonded), VALIDATORS_MAX),
        ("train", sum(one.trains for one in bonded), UPDATES_MAX),
    ):
        if count > most:
            raise LocalError(f"{count} participants have a bond to {does}; at most {most} can")
    bond_min = genesis.params.bond_min
    for participant in genesis.participants:
        if 0 < participant.bond < bond_min:
            raise LocalError(
                f"participant {participant.key.hex()} has a bond of {participant.bond}; "
                f"bond_min is {bond_min}, and without any bond it would only have an account"
            )
    if not any(participant.votes for participant in bonded):
        raise LocalError("no participant has a bond to vote with")
    total = sum(participant.bond + participant.balance for participant in genesis.participants)
    if total > STAKE_TOTAL_MAX:
        raise LocalError(f"bonds and balances sum to {total}; at most {STAKE_TOTAL_MAX} is allowed")
    emission = genesis.params.emission
    if emission > STAKE_TOTAL_MAX - total:
        raise LocalError(f"emission is {emission}, and only {STAKE_TOTAL_MAX - total} may still be created")


def _verify_model(genesis: Genesis) -> None:
    verify_manifest(genesis.manifest)
    groups = len(genesis.manifest.groups)
    for name, exponents in (
        ("update_exponents", genesis.update_exponents),
        ("model_exponents", genesis.model_exponents),
    ):
        if len(exponents) != groups:
            raise LocalError(f"{len(exponents)} {name} for a model of {groups} groups")
    for group, (update, model) in enumerate(
        zip(genesis.update_exponents, genesis.model_exponents, strict=True)
    ):
        if model - update > EXPONENT_GAP_MAX:
            raise LocalError(
                f"group {group} has model exponent {model} and update exponent {update}; "
                f"they may be {EXPONENT_GAP_MAX} apart"
            )


def _verify_rules(genesis: Genesis) -> None:
    """Each rule must hold when everybody trains: one that never can is a promise nobody keeps."""
    params = genesis.params
    verify_rules(params.rules)
    if len(frozenset(params.rules)) != len(params.rules):
        raise LocalError(f"a rule is listed twice: {', '.join(params.rules)}")
    bonds = genesis.trainer_bonds
    trainers, lying = len(bonds), faulty_max(bonds)
    lag = params.update_lag
    if lag > 1 and 2 * lag * trainers > IDS_MAX:
        raise LocalError(
            f"{trainers} trainers with update_lag {lag}: availability votes have room for {IDS_MAX} updates, "
            f"so at most {IDS_MAX // (2 * lag)} trainers may be so late"
        )
    if params.updates_min > trainers:
        raise LocalError(f"updates_min is {params.updates_min}, but only {trainers} participants can train")
    for name in params.rules:
        rule = named_rule(name)
        if rule.rule.uses_past:
            raise LocalError(
                f"rule {name} needs {rule.needs}, which blocks do not carry: it works in the laboratory only"
            )
        if not rule.bound(trainers, lying):
            raise LocalError(_broken_bound(rule, trainers, lying))


def _verify_codec(params: Params) -> None:
    """A codec must suit the rules and the window, or what trainers send would be lost."""
    codec, one_in = params.codec, params.codec_one_in
    if (codec in SPARSE) != (one_in > 1):
        wanted = "2 or more, like rand_k:100" if codec in SPARSE else "1: it sends every coordinate"
        raise LocalError(f"codec {codec} sends one coordinate in {one_in}; that must be {wanted}")
    if codec in WITH_FEEDBACK and params.update_lag > 1:
        raise LocalError(
            f"codec {codec} with update_lag {params.update_lag}: a trainer adds to its next update what did "
            "not arrive, so it must know at the next height whether its last one counted; use update_lag 1"
        )
    by_coordinate = [name for name in params.rules if named_rule(name).rule.by_coordinate]
    if codec in OF_OWN_CHOICE and by_coordinate:
        reason = "most are 0, and so is their median" if codec == "top_k" else "all have one size"
        raise LocalError(
            f"rule {by_coordinate[0]} compares the values of each coordinate, but in {codec} {reason}; "
            "use int8, int4 or rand_k, or a rule such as clip+nnm+geometric_median"
        )


def _broken_bound(rule: NamedRule, trainers: int, lying: int) -> str:
    rows = rule.count(trainers)
    left = f" (bucketing leaves {rows} rows)" if rows != trainers else ""
    return (
        f"rule {rule.name} can't stand {lying} liars among {trainers} trainers{left}: it needs {rule.needs}, "
        f"with n = {rows} and f = {lying}. The {lying} smallest bonds are less than a third of all; make the "
        "bonds more equal, add participants, or choose another rule"
    )


def _verify_byzantine(genesis: Genesis, byzantine: Collection[bytes]) -> None:
    for what, everybody in (
        ("agreement", [one for one in genesis.participants if one.votes]),
        ("training", [one for one in genesis.participants if one.trains]),
    ):
        power = sum(one.bond for one in everybody if one.key in byzantine)
        total = sum(one.bond for one in everybody)
        if power and 3 * power >= total:
            raise LocalError(
                f"the Byzantine participants hold {power} of {total}: {what} needs less than a third"
            )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(frozenset(keys)) != len(keys):
        twice = next(key for place, key in enumerate(keys) if key in keys[:place])
        raise LocalError(f"genesis.json has the key {twice!r} twice in one object")
    return dict(pairs)


def _named(value: Any) -> Any:
    """Return `value` as JSON data: a message as an object, bytes as "0x…"."""
    if isinstance(value, msgspec.Struct):
        return {field.name: _named(getattr(value, field.name)) for field in msgspec.structs.fields(value)}
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, tuple):
        return [_named(item) for item in value]
    return value


def _positional(kind: Any, value: Any, path: str) -> Any:
    """Return the JSON data `value` in the form that messages of type `kind` are made of: arrays and bytes.

    Shapes that don't fit are left as they are; the conversion to a message refuses them.
    """
    if get_origin(kind) is Annotated:
        return _positional(get_args(kind)[0], value, path)
    if get_origin(kind) is tuple and isinstance(value, list):
        item_kind = get_args(kind)[0]
        return [_positional(item_kind, item, f"{path}[{place}]") for place, item in enumerate(value)]
    if kind is bytes:
        return _bytes(value, path)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _fields(kind, value, path)
    return value


def _fields(kind: type[msgspec.Struct], value: Any, path: str) -> list[Any]:
    if not isinstance(value, dict):
        raise LocalError(f"genesis.json: {path} must be an object")
    kinds = _kinds(kind)
    for key in value:
        if key not in kinds:
            nearest = get_close_matches(key, kinds, n=1, cutoff=0)
            raise LocalError(f"genesis.json: {path} has no key {key!r}; the nearest is {nearest[0]!r}")
    given = {field.name: field.default for field in _later_fields(kind)} | value
    for name in kinds:
        if name not in given:
            raise LocalError(f"genesis.json: {path} lacks the key {name!r}")
    return [_positional(of, given[name], f"{path}.{name}") for name, of in kinds.items()]


@cache
def _later_fields(kind: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Return the fields that may be left out: choices that came after the first networks."""
    always = {Params: PARAMS_ALWAYS, Participant: PARTICIPANT_ALWAYS}
    return msgspec.structs.fields(kind)[always[kind] :] if kind in always else ()


@cache
def _kinds(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the fields of a message and their types; asked for each member, so worked out once."""
    return get_type_hints(kind, include_extras=True)


def _bytes(value: Any, path: str) -> bytes:
    if isinstance(value, str) and value.startswith("0x"):
        try:
            data = bytes.fromhex(value[2:])
        except ValueError:
            data = b""
        if "0x" + data.hex() == value:
            return data
    raise LocalError(f'genesis.json: {path} must be "0x" and lower-case hexadecimal digits')
