"""The state root commits to every bit of the ledger, one provable leaf a fact."""

from __future__ import annotations

import msgspec
from support.chain import World
from support.mutate import mutations

from p2pfed.ledger.module import Leave
from p2pfed.ledger.modules import staking
from p2pfed.ledger.state import LedgerState, decode_ledger, encode_ledger, genesis_ledger
from p2pfed.primitives import codec, merkle


def rich_ledger() -> LedgerState:
    """Return a ledger with something in every field, even what no block leaves behind."""
    world = World([100] * 7)
    world.advance(
        evidence=(world.double_vote(0), world.double_proposal(1)),
        transactions=(world.transfer(1, 2, 10, 5, 0),),
    )
    ledger = world.state.ledger
    leaving, _ = staking.execute(Leave(world.publics[2]), world.publics[0], 2, ledger.staking)
    return msgspec.structs.replace(ledger, staking=leaving)


def test_no_leaf_of_the_state_can_change_under_the_same_root() -> None:
    ledger = rich_ledger()
    roots = {ledger.root}
    paths = [path for path, _ in mutations(ledger)]
    for _, mutated in mutations(ledger):
        roots.add(mutated.root)
    assert len(roots) == len(paths) + 1
    for field in ("seed", "accounts.accounts", "accounts.burned", "staking.sets", "staking.leaving",
                  "training.last_bases", "training.last_trainers", "slashing.convictions"):  # fmt: skip
        assert any(path.startswith("." + field) for path in paths), field


def test_leaves_ascend_and_none_is_doubled() -> None:
    keys = [key for key, _ in rich_ledger().leaves()]
    assert keys == sorted(set(keys))
    assert {key.split(b"/")[0] for key in keys} == {
        b"seed",
        b"accounts",
        b"staking",
        b"training",
        b"slashing",
    }


def test_an_account_can_be_proven_by_a_short_path() -> None:
    ledger = rich_ledger()
    leaves = ledger.leaves()
    account = ledger.accounts.accounts[3]
    place = [key for key, _ in leaves].index(b"accounts/" + account.key)
    assert leaves[place][1] == codec.encode(account)
    hashes = [merkle.leaf_hash(codec.encode(leaf)) for leaf in leaves]
    path = merkle.path_of_hashes(hashes, place)
    assert merkle.has_leaf(ledger.root, codec.encode(leaves[place]), place, len(leaves), path)


def test_a_ledger_survives_storage() -> None:
    ledger = rich_ledger()
    assert decode_ledger(encode_ledger(ledger)) == ledger


def test_genesis_owns_what_its_participants_own() -> None:
    world = World([5, 6, 7])
    ledger = genesis_ledger(world.genesis)
    assert ledger.accounts.total == 5 + 6 + 7 + 3 * 1000
    assert [account.key for account in ledger.trainers] == world.publics
    assert ledger.account(bytes(33)) is None


def test_who_has_no_bond_left_does_not_train() -> None:
    world = World([5, 6, 7])
    ledger = genesis_ledger(world.genesis)
    first, *others = ledger.accounts.accounts
    poor = msgspec.structs.replace(
        ledger.accounts, accounts=(msgspec.structs.replace(first, bond=0), *others)
    )
    assert list(msgspec.structs.replace(ledger, accounts=poor).trainers) == others
