"""The state root commits to every bit of the ledger, one provable leaf a fact."""

from __future__ import annotations

import msgspec
from support.chain import World
from support.mutate import mutations

from p2pfed.ledger.module import Present
from p2pfed.ledger.modules import staking
from p2pfed.ledger.stake import POWERS_REMEMBERED_MAX, PowerFrom, Withdrawal
from p2pfed.ledger.state import (
    LEDGER_BYTES_MAX,
    LedgerState,
    decode_ledger,
    encode_ledger,
    genesis_ledger,
)
from p2pfed.primitives import codec, merkle
from p2pfed.types.params import PARTICIPANTS_MAX, PROOF_LEAF_BYTES_MAX, WITHDRAWALS_MAX


def rich_ledger() -> LedgerState:
    """Return a ledger with something in every field, even what no block leaves behind."""
    world = World([100] * 7)
    world.advance(
        evidence=(world.double_vote(0), world.double_proposal(1), world.bad_update(2)),
        transactions=(world.transfer(1, 2, 10, 5, 0), world.bond(3, 9, 1, 0), world.unbond(4, 50, 0, 0)),
    )
    ledger, context = world.state.ledger, world.state.trial_context
    present, _ = staking.execute(Present(frozenset(world.publics)), context, ledger.staking)
    return msgspec.structs.replace(ledger, staking=present)


def test_no_leaf_of_the_state_can_change_under_the_same_root() -> None:
    ledger = rich_ledger()
    roots = {ledger.root}
    paths = [path for path, _ in mutations(ledger)]
    for _, mutated in mutations(ledger):
        roots.add(mutated.root)
    assert len(roots) == len(paths) + 1
    for field in ("seed", "accounts.accounts", "accounts.burned", "staking.stakes", "staking.present",
                  "staking.oldest", "staking.marks", "staking.epoch", "training.paused",
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
    world = World([5, 6, 7, 0])
    ledger = genesis_ledger(world.genesis)
    assert ledger.total == 5 + 6 + 7 + 4 * 1000
    assert [trainer.key for trainer in ledger.trainers_at(1)] == world.publics[:3]
    assert ledger.account(bytes(33)) is None
    assert ledger.account(world.publics[3]) is not None
    assert ledger.stake(world.publics[3]) is None


def test_the_largest_ledger_fits() -> None:
    ledger = rich_ledger()
    largest = msgspec.structs.replace(
        ledger.staking.stakes[0],
        bond=1 << 60,
        exiting=1 << 60,
        powers=tuple(PowerFrom((1 << 62) + place, 1 << 60) for place in range(POWERS_REMEMBERED_MAX)),
        withdrawals=tuple(Withdrawal(1 << 60, (1 << 62) + place) for place in range(WITHDRAWALS_MAX)),
    )
    stakes = tuple(
        msgspec.structs.replace(largest, key=b"\x02" + place.to_bytes(32, "big"))
        for place in range(PARTICIPANTS_MAX)
    )
    full = msgspec.structs.replace(ledger, staking=msgspec.structs.replace(ledger.staking, stakes=stakes))
    assert len(encode_ledger(full)) < LEDGER_BYTES_MAX // 2
    assert len(codec.encode((b"staking/" + largest.key, codec.encode(largest)))) < PROOF_LEAF_BYTES_MAX
    assert decode_ledger(encode_ledger(full)) == full
