"""Proofs that something is in a block or is not, in every small list and with every false claim about it."""

from __future__ import annotations

from itertools import product

import msgspec
import pytest
from support.chain import World, private_keys

from p2pfed.chain.proofs import (
    account_key,
    find,
    find_account,
    find_stake,
    find_update,
    prove,
    prove_leaf,
    prove_update,
    stake_key,
    why_not_counted,
)
from p2pfed.errors import InvalidLightBlock, PeerFault
from p2pfed.primitives import codec
from p2pfed.primitives.merkle import EMPTY_ROOT, leaf_hash, path_of_hashes, root
from p2pfed.types.block import Body, Header
from p2pfed.types.light import ListProof

SIZE_MAX = 9


def keys_of(size: int) -> list[bytes]:
    """Return keys with room before, between and after them; each leaf is its own key."""
    return [bytes([2 * place + 1]) for place in range(size)]


def found(proof: ListProof, under: bytes, key: bytes) -> bytes | None:
    return find(proof, under, key, lambda leaf: leaf)


def test_every_key_of_every_small_list_is_proven_and_so_is_every_one_that_is_missing() -> None:
    for size in range(SIZE_MAX + 1):
        keys = keys_of(size)
        for number in range(2 * size + 2):
            key = bytes([number])
            proof = prove(keys, keys, key)
            assert found(proof, root(keys), key) == (key if key in keys else None)
            assert len(codec.encode(proof)) < 300


def test_no_claim_about_index_and_length_makes_a_key_missing_that_is_there() -> None:
    """Every one or two leaves of every list of up to 7, with their only paths, at every claimed place."""
    for size in range(1, 8):
        keys = keys_of(size)
        under, hashes = root(keys), [leaf_hash(key) for key in keys]
        paths = [path_of_hashes(hashes, place) for place in range(size)]
        shown = [(place,) for place in range(size)] + [*product(range(size), repeat=2)]
        for places, count, index in product(shown, range(SIZE_MAX), range(SIZE_MAX)):
            leaves = tuple(keys[place] for place in places)
            proof = ListProof(index, count, leaves, tuple(paths[place] for place in places))
            for key in keys:
                try:
                    assert found(proof, under, key) == key
                except InvalidLightBlock:
                    continue


@pytest.mark.parametrize(
    "lie",
    [
        lambda proof: msgspec.structs.replace(proof, leaves=(b"\x09",)),
        lambda proof: msgspec.structs.replace(proof, paths=()),
        lambda proof: msgspec.structs.replace(proof, paths=((bytes(32), *proof.paths[0][1:]),)),
        lambda proof: msgspec.structs.replace(proof, leaves=(), paths=()),
        lambda proof: msgspec.structs.replace(proof, leaves=proof.leaves * 2, paths=proof.paths * 2),
        lambda proof: msgspec.structs.replace(proof, index=proof.count),
    ],
    ids=["another leaf", "no path", "another path", "nothing", "twice", "beyond the end"],
)
def test_a_proof_that_leads_elsewhere_is_refused(lie: object) -> None:
    keys = keys_of(5)
    with pytest.raises(InvalidLightBlock):
        found(lie(prove(keys, keys, keys[2])), root(keys), keys[2])  # type: ignore[operator]


def test_the_leaf_that_is_not_in_the_list_is_named_by_its_place() -> None:
    keys = keys_of(5)
    proof = prove(keys, keys, b"\x04")  # Between the second and the third.
    assert proof.leaves == (keys[1], keys[2])
    with pytest.raises(InvalidLightBlock, match="leaf 2 is not under"):
        found(msgspec.structs.replace(proof, leaves=(keys[1], b"\x06")), root(keys), b"\x04")


def test_an_empty_list_proves_that_nothing_is_in_it_and_only_that_one() -> None:
    nothing = prove([], [], b"k")
    assert found(nothing, EMPTY_ROOT, b"k") is None
    with pytest.raises(InvalidLightBlock, match="an empty list has root"):
        found(nothing, root([b"k"]), b"k")


@pytest.fixture(scope="module")
def block() -> tuple[World, Header, Body]:
    world = World([10] * 4)
    made = world.advance()
    return world, made.header, made.body


def test_an_account_is_shown_by_the_header_alone(block: tuple[World, Header, Body]) -> None:
    world, header, _ = block
    for public in world.publics:
        proof = prove_leaf(world.state.ledger, account_key(public))
        assert find_account(proof, header, public) == world.state.ledger.account(public)
    stranger = private_keys(9)[-1].public
    stranger = stranger if stranger not in world.publics else private_keys(9)[0].public
    assert find_account(prove_leaf(world.state.ledger, account_key(stranger)), header, stranger) is None
    with pytest.raises(InvalidLightBlock, match="not the neighbours"):
        find_account(proof, header, stranger)


def test_what_is_at_stake_is_shown_by_the_header_alone() -> None:
    world = World([10, 10, 10, 0])
    header, ledger = world.advance().header, world.state.ledger
    for public in world.publics:
        assert find_stake(prove_leaf(ledger, stake_key(public)), header, public) == ledger.stake(public)
    assert ledger.stake(world.publics[0]) is not None
    assert ledger.stake(world.publics[3]) is None


def test_an_account_of_another_state_is_refused(block: tuple[World, Header, Body]) -> None:
    world, header, _ = block
    public = world.publics[0]
    richer = msgspec.structs.replace(world.state.ledger.accounts, burned=7)
    proof = prove_leaf(msgspec.structs.replace(world.state.ledger, accounts=richer), account_key(public))
    with pytest.raises(InvalidLightBlock, match=f"is not under {header.state_root.hex()}"):
        find_account(proof, header, public)


def test_an_update_is_shown_to_be_listed_or_not(block: tuple[World, Header, Body]) -> None:
    _, header, body = block
    for update in body.updates:
        assert find_update(prove_update(body.updates, update.update_id), header, update.update_id) == update
        assert why_not_counted(header, update) == ""
    for missing in (bytes(32), b"\x7f" * 32, b"\xff" * 32):
        assert find_update(prove_update(body.updates, missing), header, missing) is None
    assert why_not_counted(header, None) == "block 1 does not list it"


def test_an_update_that_is_listed_counts_only_where_the_block_merges(
    block: tuple[World, Header, Body],
) -> None:
    _, header, body = block
    late = msgspec.structs.replace(header, round0=4)
    assert "proposed in round 4" in why_not_counted(late, body.updates[0])
    empty = msgspec.structs.replace(header, flags=1)
    assert "is EMPTY" in why_not_counted(empty, body.updates[0])


def test_a_leaf_that_is_no_leaf_of_the_state_is_the_senders_fault(block: tuple[World, Header, Body]) -> None:
    _, header, _ = block
    garbage = msgspec.structs.replace(header, state_root=root([b"\xc1"]))
    with pytest.raises(PeerFault):
        find_account(prove([b"k"], [b"\xc1"], b"k"), garbage, bytes(33))
