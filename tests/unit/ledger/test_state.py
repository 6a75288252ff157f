"""The state root commits to every bit of the ledger, one provable leaf a fact."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from support.chain import World, make_genesis
from support.mutate import mutations

from p2pfed.ledger.module import BaseModel, Present
from p2pfed.ledger.modules import staking
from p2pfed.ledger.modules.contribution import ContributionState
from p2pfed.ledger.modules.quality import QualityState, Scored, Shares
from p2pfed.ledger.modules.staking import Epoch, Roles
from p2pfed.ledger.stake import POWERS_REMEMBERED_MAX, PowerFrom, Withdrawal
from p2pfed.ledger.state import (
    LEDGER_BYTES_MAX,
    LedgerState,
    decode_ledger,
    encode_ledger,
    genesis_ledger,
)
from p2pfed.primitives import codec, merkle
from p2pfed.types.params import (
    PARTICIPANTS_MAX,
    PROOF_LEAF_BYTES_MAX,
    STAKE_TOTAL_MAX,
    WITHDRAWALS_MAX,
)


def rich_ledger() -> LedgerState:
    """Return a ledger with something in every field, even what no block leaves behind."""
    world = World([100] * 7)
    world.advance(
        evidence=(world.double_vote(0), world.double_proposal(1), world.bad_update(2)),
        transactions=(world.transfer(1, 2, 10, 5, 0), world.bond(3, 9, 1, 0), world.unbond(4, 50, 0, 0)),
    )
    ledger, context = world.state.ledger, world.state.trial_context
    present, _ = staking.execute(Present(frozenset(world.publics)), context, ledger.staking)
    said = (Shares(world.publics[0], b"ab"), Shares(world.publics[1], b"c"))
    good = tuple(Scored(height, bytes(32), bytes(32), 1, said) for height in (1, 2))
    return msgspec.structs.replace(ledger, staking=present, quality=QualityState(good, 3, good[0], 4))


def test_no_leaf_of_the_state_can_change_under_the_same_root() -> None:
    ledger = rich_ledger()
    roots = {ledger.root}
    paths = [path for path, _ in mutations(ledger)]
    for _, mutated in mutations(ledger):
        roots.add(mutated.root)
    assert len(roots) == len(paths) + 1
    for field in ("seed", "accounts.accounts", "accounts.burned", "staking.stakes", "staking.present",
                  "staking.oldest", "staking.marks", "staking.epoch", "training.paused",
                  "training.last_bases", "training.last_trainers", "slashing.convictions", "quality.window",
                  "quality.back_to.shares", "quality.strikes", "quality.floor"):  # fmt: skip
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
        b"quality",
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


PAID = ContributionState(left=9)
JUDGED = QualityState(floor=9)


@pytest.mark.parametrize(
    ("chosen", "lengths"),
    [  # The slices that are spelled, and how many fields there are of staking and training.
        ({}, (5, 5, 3)),
        ({"staking": {"roles": Roles((), (), Epoch(1, 0, 0))}}, (5, 6, 3)),
        ({"training": {"bases": (BaseModel(1, bytes(32), 0),)}}, (5, 5, 4)),
        ({"contribution": PAID}, (6, 5, 3)),
        ({"quality": JUDGED}, (7, 5, 3)),
        ({"contribution": PAID, "quality": JUDGED}, (7, 5, 3)),
    ],
)
def test_what_a_network_has_not_chosen_is_not_spelled_and_all_else_is(
    chosen: dict[str, Any], lengths: tuple[int, int, int]
) -> None:
    ledger = genesis_ledger(make_genesis([1, 2]))
    for name, change in chosen.items():
        changed = msgspec.structs.replace(getattr(ledger, name), **change) if type(change) is dict else change
        ledger = msgspec.structs.replace(ledger, **{name: changed})
    data = encode_ledger(ledger)
    assert decode_ledger(data) == ledger
    slices = msgspec.msgpack.decode(data)
    assert (len(slices), len(slices[2]), len(slices[3])) == lengths
    names = {name for name, _ in ledger.leaves()}
    assert (b"staking/roles" in names) is (ledger.staking.roles is not None)
    assert (b"training/bases" in names) is bool(ledger.training.bases)


def test_genesis_notes_who_does_one_thing_only() -> None:
    def roles_of(*roles: str) -> Roles | None:
        return genesis_ledger(make_genesis([5, 6, 7], roles=roles)).staking.roles

    first, _, last = World([1, 1, 1]).publics
    assert roles_of("3:both") is None
    # The epoch begins with the power of all who train.
    assert roles_of("1:trainer", "2:both") == Roles((first,), (), Epoch(18, 0, 0))
    assert roles_of("2:both", "1:validator") == Roles((), (last,), Epoch(11, 0, 0))
    assert roles_of("1:trainer", "1:both", "1:validator") == Roles((first,), (last,), Epoch(11, 0, 0))


def test_all_there_is_and_all_that_may_still_be_created_is_the_limit_of_stake() -> None:
    world = World([100, 100, 100, 100], emission=1000)
    assert world.state.ledger.total == STAKE_TOTAL_MAX
    assert world.state.ledger.contribution.left == STAKE_TOTAL_MAX - 4 * 1100
    for _ in range(3):
        world.advance()
        assert world.state.ledger.total == STAKE_TOTAL_MAX
    assert world.state.ledger.contribution.left < STAKE_TOTAL_MAX - 4 * 1100
    assert World([100]).state.ledger.contribution == ContributionState()


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
