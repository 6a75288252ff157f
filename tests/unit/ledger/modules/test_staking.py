"""The set moves within its bounds, is remembered while evidence counts, and stake is free only after that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pytest
from support.chain import make_genesis, private_keys

from p2pfed.chain.roles import parse_roles
from p2pfed.errors import InvalidTransaction
from p2pfed.ledger.churn import moved_powers
from p2pfed.ledger.module import (
    AddBond,
    AskExit,
    Burn,
    Context,
    Credit,
    Expire,
    Payload,
    Present,
    Release,
    Slash,
    Tombstone,
)
from p2pfed.ledger.modules import staking
from p2pfed.ledger.modules.staking import StakingState
from p2pfed.ledger.stake import Stake
from p2pfed.ledger.state import genesis_ledger
from p2pfed.types.genesis import Participant
from p2pfed.types.params import (
    ABSENCES_MAX,
    EPOCH_HEIGHTS,
    JAIL_HEIGHTS,
    POWER_CHANGES_MAX,
    VALIDATORS_MAX,
    WITHDRAWALS_MAX,
)

KEYS = [key.public for key in private_keys(6)]
A, B, C, D, E, F = KEYS
STEP_MS = 10


class Chain:
    """The staking slice of a network, block after block; everybody is alive unless a block says who is."""

    def __init__(self, *bonds: int, roles: Sequence[str] = (), **params: Any) -> None:
        dealt = zip(KEYS, bonds, parse_roles(roles, len(bonds)), strict=False)
        participants = tuple(Participant(key, bond, 0, role) for key, bond, role in dealt)
        period = {"unbonding_ms": 0, "unbonding_heights": 16}
        genesis = make_genesis(bonds, participants=participants, **(period | params))
        self.genesis = genesis
        self.state: StakingState = genesis_ledger(genesis).staking
        self.height = 0
        self.calls: tuple[Payload, ...] = ()

    def context(self, height: int) -> Context:
        return Context(self.genesis.chain_id, self.genesis.params, height, height * STEP_MS, A)

    def block(self, *payloads: Any, alive: Iterable[bytes] = KEYS) -> Chain:
        """Execute a block of `payloads`; `calls` is what it asks of other modules."""
        self.height += 1
        context, calls = self.context(self.height), list[Payload]()
        for payload in (*payloads, Present(frozenset(alive))):
            self.state, more = staking.execute(payload, context, self.state)
            calls += more
        self.state, more = staking.end_block(context, self.state)
        self.calls = (*calls, *more)
        bonded = [stake.power <= stake.bond for stake in self.state.stakes]
        assert all(bonded) or all(stake.tombstoned for stake in self.state.stakes)
        return self

    def blocks(self, count: int, **more: Any) -> Chain:
        for _ in range(count):
            self.block(**more)
        return self

    def powers(self, height: int | None = None) -> dict[bytes, int]:
        """Return the powers of the set that the last block fixed, or of `height`."""
        validators = self.state.validators_at(self.height + 2 if height is None else height)
        assert validators is not None
        return {validator.key: validator.power for validator in validators.validators}

    def weights(self, height: int | None = None) -> dict[bytes, int]:
        """Return the powers of all, with or without a vote, that the last block fixed, or of `height`."""
        members = self.state.members_at(self.height + 2 if height is None else height)
        assert members is not None
        return {member.key: member.power for member in members}

    def stake(self, key: bytes) -> Stake:
        stake = self.state.stake(key)
        assert stake is not None
        return stake


def test_a_bond_votes_two_heights_later() -> None:
    chain = Chain(10, 10, 10, 10).block().block(AddBond(E, 5))
    assert chain.powers(3) == {A: 10, B: 10, C: 10, D: 10}
    assert chain.powers(4) == {A: 10, B: 10, C: 10, D: 10, E: 5}
    assert chain.stake(E).bond == 5


def test_no_more_than_an_eighth_is_added_or_removed_in_an_epoch() -> None:
    chain = Chain(10, 10, 10, 10).block(AddBond(E, 8), AskExit(A, 10))
    assert chain.powers() == {A: 5, B: 10, C: 10, D: 10, E: 5}
    chain.blocks(EPOCH_HEIGHTS - 1)
    assert chain.powers() == {A: 5, B: 10, C: 10, D: 10, E: 5}
    chain.block()
    assert chain.powers() == {B: 10, C: 10, D: 10, E: 8}


def test_who_asked_first_is_served_first() -> None:
    first, second = (
        Chain(10, 10, 10, 10).block(AddBond(one, 5)).block(AddBond(two, 5)) for one, two in ((E, F), (F, E))
    )
    assert E in first.powers()
    assert F not in first.powers()
    assert F in second.powers()
    assert first.blocks(EPOCH_HEIGHTS - 1).powers()[F] == 5


def test_who_asked_first_comes_first_in_the_next_epoch_too() -> None:
    for one, two in ((D, E), (E, D)):
        chain = Chain(40, 40).block(AddBond(C, 10)).block(AddBond(one, 11)).block(AddBond(two, 11))
        assert chain.powers().keys() == {A, B, C}
        assert chain.blocks(EPOCH_HEIGHTS).powers() == {A: 40, B: 40, C: 10, one: 11}


def test_who_asked_first_to_leave_leaves_first() -> None:
    for one, two in ((A, B), (B, A)):
        chain = Chain(10, 10, 10, 10).block(AskExit(one, 10)).block(AskExit(two, 10)).blocks(EPOCH_HEIGHTS)
        assert (chain.powers()[one], chain.powers()[two]) == (1, 10)  # 5 of 40, then 4 of 35.


def test_who_come_or_leave_in_one_block_share_its_budget() -> None:
    assert sum(Chain(10, 10, 10, 10).block(AddBond(E, 5), AddBond(F, 5)).powers().values()) == 45
    assert sum(Chain(10, 10, 10, 10).block(AskExit(A, 5), AskExit(B, 5)).powers().values()) == 35


def test_even_a_tiny_network_can_grow() -> None:
    chain = Chain(1, 1).block(AddBond(C, 2))
    assert chain.powers() == {A: 1, B: 1, C: 1}
    assert chain.blocks(EPOCH_HEIGHTS).powers() == {A: 1, B: 1, C: 2}


def test_what_leaves_the_vote_waits_and_is_then_free() -> None:
    chain = Chain(10, 10, 10, 10).block(AskExit(A, 4))
    assert chain.powers() == {A: 6, B: 10, C: 10, D: 10}
    assert (chain.stake(A).bond, chain.stake(A).exiting) == (6, 0)
    assert [(entry.amount, entry.last_height) for entry in chain.stake(A).withdrawals] == [(4, 2)]
    # Evidence of height 2 may be in block 18 and not in block 19: the stake is free when 18 has ended.
    while chain.height < 17:
        chain.block()
        assert Credit(A, 4) not in chain.calls
    assert chain.block().calls == (Credit(A, 4), Expire(3))
    assert chain.stake(A).withdrawals == ()


def test_who_is_leaving_votes_until_all_of_it_has_left() -> None:
    """Also with less than the least bond: it can still be slashed for how it votes."""
    chain = Chain(10, 10, 10, 10, bond_min=8).block(AskExit(A, 10)).block()
    assert chain.powers()[A] == chain.stake(A).bond == chain.stake(A).exiting == 5
    assert A not in chain.blocks(2 * EPOCH_HEIGHTS).powers()


def test_what_is_leaving_already_cannot_be_asked_for_again() -> None:
    chain = Chain(10, 10, 10, 10).block(AskExit(A, 7))
    assert (chain.stake(A).bond, chain.stake(A).exiting) == (5, 2)
    with pytest.raises(InvalidTransaction, match="4 where 3 is bonded"):
        chain.block(AskExit(A, 4))


def test_what_has_not_voted_yet_leaves_without_the_budget() -> None:
    chain = Chain(10, 10, 10, 10).block(AddBond(E, 9)).block(AskExit(E, 4))
    assert chain.powers()[E] == 5
    assert (chain.stake(E).bond, chain.stake(E).exiting) == (5, 0)
    # It is paid out once, although the power of the key has not changed meanwhile.
    paid = [call for _ in range(40) for call in chain.block().calls if isinstance(call, Credit)]
    assert paid == [Credit(E, 4)]


def test_powers_are_forgotten_when_no_evidence_can_ask_for_them() -> None:
    chain = Chain(80, 80).block(AddBond(A, 1)).blocks(17)
    assert [(entry.from_height, entry.power) for entry in chain.stake(A).powers] == [(3, 81)]


def test_who_has_taken_all_home_is_forgotten_when_its_last_vote_is() -> None:
    chain = Chain(10, 10, 10, 10).block(AddBond(E, 5)).block(AskExit(E, 5))
    assert E not in chain.powers()
    chain.blocks(16)
    assert chain.stake(E).withdrawals
    assert chain.block().calls == (Credit(E, 5), Expire(4))
    assert chain.state.stake(E) is None


def test_who_lost_all_is_remembered_while_its_votes_can_be_punished() -> None:
    chain = Chain(10, 10, 10, 10).block(Slash(A, 10))
    assert chain.stake(A).total == 0
    assert chain.blocks(16).powers(2)[A] == 10
    assert chain.blocks(2).state.stake(A) is None


def test_exactly_the_least_bond_may_stay() -> None:
    assert Chain(10, 10, 10, 10, bond_min=5).block(AskExit(A, 5)).stake(A).bond == 5


def test_a_newcomer_of_the_past_begins_with_a_clean_sheet() -> None:
    """Absences of an earlier time as a validator don't count, or who left late is jailed on its return."""
    others = (A, B, C)
    chain = Chain(80, 80, 80, 10).blocks(ABSENCES_MAX - 10, alive=others)
    chain.block(AskExit(D, 10), alive=others).block(AddBond(D, 10), alive=others)
    chain.blocks(20, alive=others)
    assert chain.powers()[D] == 10


def test_sets_at_hand_are_few_whatever_evidence_asks_for() -> None:
    chain = Chain(10, 10).blocks(20)
    for height in range(chain.state.oldest, chain.height + 3):
        chain.powers(height)
        assert chain.state.validators_at(height) is chain.state.validators_at(height)
        assert len(chain.state._sets) <= staking.SETS_AT_HAND_MAX


@pytest.mark.parametrize(
    ("payload", "match"),
    [
        (AddBond(F, 4), "at least 5 is needed"),
        (AddBond(A, 0), "of nothing"),
        (AskExit(A, 0), "of nothing"),
        (AskExit(A, 11), "11 where 10 is bonded"),
        (AskExit(A, 6), "4 would stay bonded; leave 5 or more, or nothing"),
        (AskExit(F, 1), "1 where 0 is bonded"),
        (Release(A), "is not in jail"),
        (Release(F), "is not in jail"),
    ],
)
def test_what_the_rules_refuse(payload: Any, match: str) -> None:
    chain = Chain(10, 10, 10, 10, bond_min=5)
    with pytest.raises(InvalidTransaction, match=match):
        staking.execute(payload, chain.context(1), chain.state)


def test_a_tombstone_takes_the_vote_at_once_and_the_rest_can_be_taken_home() -> None:
    chain = Chain(10, 10, 10, 10).block(Slash(B, 3), Tombstone(B))
    assert Burn(3) in chain.calls
    assert chain.powers(2)[B] == 10
    assert chain.powers(3) == {A: 10, C: 10, D: 10}
    with pytest.raises(InvalidTransaction, match="never votes again"):
        chain.block(AddBond(B, 5))
    chain.height -= 1
    assert chain.block(AskExit(B, 7)).stake(B).bond == 0
    chain.blocks(40)
    assert chain.stake(B).tombstoned  # Remembered for ever: the key must not come back.


def test_who_lied_may_leave_less_than_the_least_bond() -> None:
    chain = Chain(10, 10, 10, 10, bond_min=5).block(Tombstone(B)).block(AskExit(B, 7))
    assert chain.stake(B).bond == 3


def test_a_slash_takes_from_what_wants_to_leave_too() -> None:
    chain = Chain(10, 10, 10, 10).block(AskExit(A, 10)).block(Slash(A, 3))
    assert (chain.stake(A).bond, chain.stake(A).exiting, chain.powers()[A]) == (2, 2, 2)


def test_a_slash_lowers_the_power_at_once_and_reaches_what_waits() -> None:
    chain = (
        Chain(10, 10, 10, 10).block(AskExit(A, 4)).block(Slash(A, 7), Slash(B, 6), Slash(C, 6), Slash(D, 6))
    )
    assert chain.powers() == {B: 4, C: 4, D: 4}  # More than an eighth: slashing is exempt.
    assert chain.stake(A).total == 3
    assert [entry.amount for entry in chain.stake(A).withdrawals] == [3]
    assert chain.block(Slash(A, 100)).calls == (Burn(3),)
    assert chain.stake(A).withdrawals == ()


def test_a_bond_below_the_minimum_after_a_slash_does_not_vote() -> None:
    chain = Chain(10, 10, 10, 10, bond_min=8).block(Slash(A, 3))
    assert chain.powers() == {B: 10, C: 10, D: 10}
    assert chain.stake(A).bond == 7
    chain.block(AddBond(A, 1))
    assert chain.powers()[A] == 5  # Within the budget of the epoch.


def test_a_change_that_would_leave_nobody_is_not_applied() -> None:
    chain = Chain(10, 20).block(Tombstone(A), Tombstone(B))
    assert chain.powers() == {A: 10, B: 20}
    assert chain.blocks(2 * EPOCH_HEIGHTS).powers() == {A: 10, B: 20}
    chain.block(AddBond(C, 5))
    assert chain.powers() == {A: 10, B: 20, C: 3}
    assert chain.block().powers() == {C: 3}


def test_the_last_power_is_not_taken_home() -> None:
    chain = Chain(8).block(AskExit(A, 8)).blocks(16 * EPOCH_HEIGHTS)
    assert chain.powers() == {A: 1}
    assert (chain.stake(A).bond, chain.stake(A).exiting) == (1, 1)
    # Nor where two leave in the block in which all others are convicted.
    assert len(Chain(90, 5, 5).block(Tombstone(A), AskExit(B, 5), AskExit(C, 5)).powers()) == 1


def test_who_is_missing_in_more_than_half_of_a_hundred_heights_is_jailed() -> None:
    chain = Chain(10, 10, 10, 10).blocks(ABSENCES_MAX, alive=(A, B, C))
    assert chain.powers()[D] == 10
    chain.block(alive=(A, B, C))
    assert chain.powers(chain.height + 1)[D] == 10
    assert chain.powers() == {A: 10, B: 10, C: 10}
    assert chain.stake(D).jailed_at == ABSENCES_MAX + 1
    assert chain.stake(D).bond == 10  # A jail costs nothing.
    # Who is convicted in that very block is past jail.
    chain = Chain(10, 10, 10, 10).blocks(ABSENCES_MAX, alive=(A, B, C)).block(Tombstone(D), alive=(A, B, C))
    assert chain.stake(D).jailed_at == 0


def test_one_sign_of_life_in_two_heights_is_enough() -> None:
    chain = Chain(10, 10, 10, 10)
    for _ in range(150):
        chain.block(alive=(A, B, C)).block()
    assert chain.powers()[D] == 10


def test_a_jail_that_would_leave_nobody_is_not_applied() -> None:
    chain = Chain(10, 10).blocks(ABSENCES_MAX + 10, alive=())
    assert len(chain.powers()) == 1
    chain.blocks(2 * ABSENCES_MAX, alive=())
    assert len(chain.powers()) == 1


def test_who_is_convicted_or_not_in_the_set_yet_is_nobody_that_a_jail_would_leave() -> None:
    chain = Chain(10, 10).blocks(ABSENCES_MAX, alive=(B,)).block(Tombstone(B), AddBond(E, 5), alive=(B,))
    assert chain.stake(A).jailed_at == 0
    assert chain.powers() == {A: 10, E: 2}


def test_a_jail_ends_on_request_and_not_before_ten_heights() -> None:
    chain = Chain(10, 10, 10, 10).blocks(ABSENCES_MAX + 1, alive=(A, B, C))
    jailed = chain.height
    chain.blocks(JAIL_HEIGHTS - 2)
    with pytest.raises(
        InvalidTransaction, match=f"jailed by block {jailed}; block {jailed + JAIL_HEIGHTS} may"
    ):
        chain.block(Release(D))
    assert D not in chain.powers()
    chain.block(Release(D))
    assert chain.powers()[D] == 5  # It comes back as fast as anybody may come.
    assert chain.stake(D).jailed_at == 0
    # It votes again two heights later, and its absences are counted anew.
    assert D in chain.block(alive=(A, B, C)).blocks(ABSENCES_MAX, alive=(A, B, C)).powers()
    assert D not in chain.block(alive=(A, B, C)).powers()


def test_who_is_back_from_jail_stands_at_the_end_of_the_queue() -> None:
    chain = Chain(10, 10, 10, 10).blocks(ABSENCES_MAX + 1, alive=(A, B, C)).blocks(2 * EPOCH_HEIGHTS)
    while chain.height % EPOCH_HEIGHTS:
        chain.block()
    chain.block(AddBond(E, 3)).block(AddBond(F, 5)).block(Release(D))
    assert chain.powers().keys() == {A, B, C, E}
    assert chain.blocks(EPOCH_HEIGHTS).powers() == {A: 10, B: 10, C: 10, E: 3, F: 4}


def test_what_each_key_is_for_is_told_of_those_without_a_stake_too() -> None:
    chain = Chain(10, 10, 0, 0, roles=["1:both", "1:trainer", "1:validator", "1:trainer"])
    assert [chain.state.role_of(key) for key in (A, B, C, D)] == ["both", "trainer", "validator", "trainer"]
    assert chain.state.role_of(F) == Chain(10).state.role_of(A) == "both"


def test_sets_are_remembered_exactly_as_long_as_evidence_counts() -> None:
    chain = Chain(10, 10, 10, 10).block(AddBond(E, 5)).blocks(17)
    assert chain.state.oldest == 3
    assert chain.state.validators_at(2) is chain.state.members_at(2) is None
    assert chain.powers(3)[E] == 5
    chain = Chain(10, 10, 10, 10).block().block(AddBond(E, 5)).blocks(17)
    assert chain.state.oldest == 4
    assert len(chain.stake(E).powers) == 1


def test_evidence_counts_until_heights_and_time_are_over() -> None:
    slow = Chain(10, 10, unbonding_ms=0, unbonding_heights=30).blocks(30)
    assert slow.state.oldest == 1
    assert slow.block().state.oldest == 2
    long = Chain(10, 10, unbonding_ms=640, unbonding_heights=4).blocks(64)
    assert long.state.oldest == 1
    assert long.block().state.oldest == 2
    assert long.blocks(20).state.oldest == long.state.marks[0].height == 22
    # A period that is no multiple of 64 steps is rounded up by less than a step.
    odd = Chain(10, 10, unbonding_ms=64 * 25, unbonding_heights=4).blocks(400)
    assert 400 - 163 <= odd.state.oldest <= 400 - 159
    assert len(odd.state.marks) < 70
    # Where heights decide, every second of 128 is enough.
    sparse = Chain(10, 10, unbonding_ms=0, unbonding_heights=128).blocks(20)
    assert [mark.height for mark in sparse.state.marks] == list(range(1, 21, 2))


def test_a_restless_key_waits_so_that_little_is_remembered() -> None:
    chain = Chain(1000, 1000, 1000, 1000, unbonding_heights=4096)
    for _ in range(POWER_CHANGES_MAX // 2 + 20):
        chain.block(AddBond(A, 1)).block(AskExit(A, 1))
    assert len(chain.stake(A).powers) == POWER_CHANGES_MAX
    assert len(chain.stake(A).withdrawals) == WITHDRAWALS_MAX
    assert chain.stake(A).total == 1000 + POWER_CHANGES_MAX // 2 + 20
    assert chain.block(Tombstone(A)).powers() == {B: 1000, C: 1000, D: 1000}


def stakes_of(*bonds: int) -> list[Stake]:
    first = Chain(1).stake(A)
    return [
        msgspec.structs.replace(first, key=b"\x02" + place.to_bytes(32, "big"), bond=bond)
        for place, bond in enumerate(bonds)
    ]


def test_the_largest_bonds_have_the_seats() -> None:
    stakes = stakes_of(*[100] * VALIDATORS_MAX, 101, 99)
    powers = {stake.key: 100 if place < VALIDATORS_MAX else 0 for place, stake in enumerate(stakes)}
    moved, added, removed = moved_powers(stakes, powers, 1, 5000, 5000)
    assert sum(1 for power in moved.values() if power) == VALIDATORS_MAX
    assert moved[stakes[-2].key] == added == 101
    assert moved[stakes[-3].key] == 0  # Of the smallest bonds the one with the largest key goes.
    assert moved[stakes[-1].key] == 0
    assert removed == 100
    # Where nothing may be removed yet there is no seat to take.
    assert moved_powers(stakes, powers, 1, 5000, 0)[0] == powers


def test_who_has_a_seat_grows_although_none_is_free() -> None:
    stakes = stakes_of(*[100] * (VALIDATORS_MAX - 1), 110)
    moved, added, _ = moved_powers(stakes, {stake.key: 100 for stake in stakes}, 1, 5000, 5000)
    assert added == moved[stakes[-1].key] - 100 == 10


def test_one_free_seat_is_taken_once() -> None:
    stakes = stakes_of(*[100] * (VALIDATORS_MAX + 1))
    powers = {stake.key: 100 if place > 1 else 0 for place, stake in enumerate(stakes)}
    moved, added, _ = moved_powers(stakes, powers, 1, 5000, 0)
    assert [moved[stake.key] for stake in stakes[:2]] == [100, 0]
    assert added == 100


def test_who_may_not_vote_has_no_seat() -> None:
    stakes = stakes_of(*[100] * (VALIDATORS_MAX + 1), 900)
    stakes[-1] = msgspec.structs.replace(stakes[-1], jailed_at=1)
    moved, _, _ = moved_powers(stakes, {stake.key: 0 for stake in stakes}, 1, 100_000, 0)
    assert [bool(moved[stake.key]) for stake in stakes] == [True] * VALIDATORS_MAX + [False] * 2


def test_who_would_keep_less_than_the_least_bond_leaves_whole() -> None:
    """A slash can do that to who wants to leave in part."""
    slashed, other = stakes_of(7, 100)
    slashed = msgspec.structs.replace(slashed, exiting=5)
    moved, _, removed = moved_powers((slashed, other), {slashed.key: 7, other.key: 100}, 5, 0, 50)
    assert (moved[slashed.key], removed) == (0, 7)


# Who only trains, and who only votes.


def test_stake_without_a_vote_has_power_and_moves_like_any_other() -> None:
    chain = Chain(10, 10, 16, 16, roles=["2:validator", "2:trainer"]).block(AskExit(C, 16), AddBond(D, 9))
    assert chain.powers() == {A: 10, B: 10}
    assert chain.weights() == {A: 10, B: 10, C: 12, D: 20}  # An eighth of the 32 that train, each way.
    chain.blocks(EPOCH_HEIGHTS - 1)
    assert chain.weights() == {A: 10, B: 10, C: 12, D: 20}
    assert chain.block().weights() == {A: 10, B: 10, C: 8, D: 24}
    assert chain.stake(C).bond == 8


def test_a_large_stake_without_a_vote_lets_no_vote_move_faster() -> None:
    chain = Chain(8, 8, 1000, roles=["2:both", "1:trainer"]).block(AskExit(A, 8), AddBond(B, 100))
    assert chain.powers() == {A: 6, B: 10}
    chain = Chain(1000, 1000, 8, roles=["2:validator", "1:trainer"]).block(AddBond(C, 100))
    assert chain.weights() == {A: 1000, B: 1000, C: 9}


@pytest.mark.parametrize("roles", [["1:both", "1:trainer"], ["1:trainer", "1:both"]])
def test_votes_and_training_without_a_vote_have_a_budget_each_in_every_epoch(roles: list[str]) -> None:
    """Whoever has the smaller key is served first; it takes nothing from the other."""
    chain = Chain(80, 80, roles=roles).block(AddBond(A, 30), AddBond(B, 30))
    voter, trainer = (A, B) if roles[0] == "1:both" else (B, A)
    # An eighth of the 80 that vote, and of the 160 that train; then of 90 and of 190.
    assert chain.weights() == {voter: 90, trainer: 100}
    assert chain.blocks(EPOCH_HEIGHTS).weights() == {voter: 101, trainer: 110}


def test_the_last_that_only_trains_may_leave_and_come_back_as_it_was() -> None:
    chain = Chain(8, 8, 2, roles=["2:both", "1:trainer"]).block(AskExit(C, 2))
    assert chain.weights() == {A: 8, B: 8}
    chain.blocks(200)
    assert chain.state.stake(C) is None
    assert Credit(C, 2) not in chain.calls
    chain.block(AddBond(C, 2))
    assert chain.powers() == {A: 8, B: 8}
    assert chain.weights() == {A: 8, B: 8, C: 2}


def test_who_has_no_vote_is_never_missing_and_no_vote_to_keep_a_jail_from() -> None:
    chain = Chain(10, 10, 10, roles=["2:both", "1:trainer"]).blocks(3 * ABSENCES_MAX, alive=[A])
    assert chain.stake(C).jailed_at == 0
    assert chain.stake(B).jailed_at == ABSENCES_MAX + 1
    assert chain.weights() == {A: 10, C: 10}
    alone = Chain(10, 10, roles=["1:both", "1:trainer"]).blocks(3 * ABSENCES_MAX, alive=[])
    assert alone.powers() == {A: 10}
    assert alone.stake(A).jailed_at == 0


def test_a_conviction_may_take_the_last_that_only_trains() -> None:
    chain = Chain(10, 10, roles=["1:both", "1:trainer"]).block(Slash(B, 10))
    assert chain.powers() == {A: 10}
    assert chain.weights() == {A: 10}
