"""Laws of the ledger: nothing is created or lost, the set keeps its bounds, and a second program agrees."""

from __future__ import annotations

import importlib.util
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.chain import World

from p2pfed.errors import InvalidTransaction
from p2pfed.ledger.execute import begin_block, end_block, execute_convictions, execute_transaction
from p2pfed.ledger.module import BaseModel, Context, Convict, CountUpdates, Offence, Reward
from p2pfed.ledger.state import LedgerState, decode_ledger, encode_ledger, genesis_ledger
from p2pfed.primitives import codec
from p2pfed.types.genesis import encode_genesis
from p2pfed.types.transaction import Transaction

PROGRAM = Path(__file__).parents[2] / "p2pfed" / "independent" / "verify.py"
SPEC = importlib.util.spec_from_file_location("stand_alone_ledger", PROGRAM)
assert SPEC is not None
assert SPEC.loader is not None
VERIFY = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(VERIFY)

COUNT, STEP_MS = 5, 10
# One participant has an account and no bond. Evidence counts for 6 heights and 90 ms: time decides.
CHOICES = {"bond_min": 3, "unbonding_heights": 6, "unbonding_ms": 90, "emission": 4321}
WORLD = World([40, 19, 2000, 123, 0], **CHOICES)
# The first only trains, the second only votes, and the last will only train.
ROLES = World([40, 19, 2000, 123, 0], roles=["1:trainer", "1:validator", "2:both", "1:trainer"], **CHOICES)
PUBLICS = WORLD.publics

people = st.integers(0, COUNT - 1)
amounts = st.one_of(st.integers(0, 30), st.integers(0, 1500), st.just(1 << 60))
fees = st.integers(0, 9)
moves = st.one_of(
    st.tuples(st.just("transfer"), people, people, amounts, fees),
    st.tuples(st.sampled_from(["bond", "unbond"]), people, amounts, fees),
    st.tuples(st.just("unjail"), people, fees),
    st.tuples(st.just("convict"), people, st.sampled_from(list(Offence)), st.integers(0, 8)),
)
blocks = st.tuples(
    people,  # Who proposes.
    st.lists(moves, max_size=5),
    st.sets(people),  # Who is alive.
    st.integers(1, 60),  # For so many blocks, of which the moves are in the first one.
)


@lru_cache(maxsize=4096)
def signed(world: World, kind: str, nonce: int, *values: int) -> Transaction:
    """Return a signed transaction; signing is most of the time, so each is signed once."""
    transaction: Transaction = getattr(world, kind)(*values, nonce)
    return transaction


def convict_of(ledger: LedgerState, key: bytes, offence: Offence, height: int) -> Convict | None:
    """Return a conviction that `chain` could have found: of a height that counts, of a vote by who voted."""
    if height < 1 or (validators := ledger.staking.validators_at(height)) is None:
        return None
    members = ledger.staking.members_at(height) or ()
    accused = (
        members if offence in (Offence.INVALID_UPDATE, Offence.DUPLICATE_UPDATE) else validators.validators
    )
    power = next((one.power for one in accused if one.key == key), 0)
    return Convict(key, offence, height, power, sum(one.power for one in accused)) if power else None


def moved(
    world: World, ledger: LedgerState, theirs: Any, move: tuple[Any, ...], context: Context
) -> LedgerState:
    """Carry out one move on both ledgers; what one refuses the other refuses too."""
    if move[0] == "convict":
        convict = convict_of(ledger, PUBLICS[move[1]], move[2], context.height - move[3])
        if convict is None:
            return ledger
        place = convict.culprit, convict.offence.value, convict.height, context.height

        def run() -> LedgerState:
            return execute_convictions(ledger, [convict], context)

        def run_theirs(other: Any) -> None:
            other.convict(*place)
    else:
        account = ledger.account(PUBLICS[move[1]])
        assert account is not None
        transaction = signed(world, move[0], account.nonce, *move[1:])
        plain = msgspec.msgpack.decode(codec.encode(transaction))

        def run() -> LedgerState:
            return execute_transaction(ledger, transaction, context)

        def run_theirs(other: Any) -> None:
            other.transact(plain, context.height, context.proposer)

    try:
        after = run()
    except InvalidTransaction:
        with pytest.raises(VERIFY.Damage):
            run_theirs(deepcopy(theirs))
        return ledger
    run_theirs(theirs)
    return after


def rewards(
    ledger: LedgerState, height: int, counted: tuple[bytes, ...], present: frozenset[bytes], proposer: bytes
) -> tuple[Reward, Any]:
    """Return who worked for a block, for each of the two programs; scores are made up."""
    trainers = tuple((trainer.key, trainer.power) for trainer in ledger.trainers_at(height))
    voters = ledger.staking.validators_at(height)
    assert voters is not None
    pairs = tuple((voter.key, voter.power) for voter in voters.validators)
    voted = present.intersection(key for key, _ in pairs)
    scores = tuple((key, key[1] * height * 977 % 65537) for key in counted)
    sketches = (height.to_bytes(256, "big"),) * (1 + len(counted)) if counted else ()
    theirs = VERIFY.Reward(dict(trainers), proposer)
    theirs.scores, theirs.sketches = dict(scores), list(sketches)
    theirs.votes = [(set(voted), VERIFY.Validators(pairs))] * 2
    return Reward(trainers, scores, sketches, (voted, pairs), (voted, pairs)), theirs


# The fourth is missing for 51 blocks, and asks to come back 9 and 10 heights after its jail.
JAILED = [(0, [], {0, 1, 2}, 51), (0, [], {0, 1, 2, 3}, 8), (0, [("unjail", 3, 0)], {0, 1, 2, 3}, 1)]
# Three lie about their votes in one window, one of them about what nobody can prove any more.
LIARS = [
    (0, [("bond", 4, 30, 1)], {0, 1, 2, 3}, 3),
    (0, [("convict", 0, Offence.AMNESIA, 0), ("convict", 0, Offence.DUPLICATE_VOTE, 0)], {0, 1, 2}, 2),
    (1, [("convict", 3, Offence.DUPLICATE_VOTE, 1), ("convict", 4, Offence.DUPLICATE_VOTE, 0)], {1, 2}, 1),
    (1, [("unbond", 0, 3, 0), ("convict", 1, Offence.INVALID_UPDATE, 8)], {1, 2}, 30),
]


@settings(max_examples=60, deadline=None)
@example(world=WORLD, history=[*JAILED, *JAILED[2:]])
@example(world=WORLD, history=LIARS)
@example(world=ROLES, history=LIARS)
@given(world=st.sampled_from([WORLD, ROLES]), history=st.lists(blocks, min_size=1, max_size=8))
def test_every_history_keeps_the_laws_and_two_programs_agree_on_it(world: World, history: list[Any]) -> None:
    genesis = world.genesis
    ledger, height = genesis_ledger(genesis), 0
    theirs = VERIFY.Ledger(msgspec.msgpack.decode(encode_genesis(genesis)), genesis.chain_id)
    total, added = ledger.total, 0
    for proposer, moves, alive, count in history:
        for repetition in range(count):
            height += 1
            context = Context(genesis.chain_id, genesis.params, height, height * STEP_MS, PUBLICS[proposer])
            ledger = begin_block(ledger, bytes(32))
            theirs.seed = VERIFY.tagged("seed", theirs.seed + bytes(32))
            for move in moves if repetition == 0 else ():
                ledger = moved(world, ledger, theirs, move, context)
                assert ledger.total == total
            present = frozenset(PUBLICS[place] for place in alive)
            counted = tuple(trainer.key for trainer in ledger.trainers_at(height) if trainer.key in present)
            base, pairs = BaseModel(height - 1, bytes(32), 0), tuple((key, height - 1) for key in counted)
            before = ledger.staking.validators_at(height + 1)
            reward, their_reward = rewards(ledger, height, counted, present, PUBLICS[proposer])
            update_set = CountUpdates(base, pairs, (), is_empty=not counted)
            ledger = end_block(ledger, update_set, present, context, reward)
            count_theirs = dict(pairs), list(counted), not counted
            theirs.finish(height, context.time_ms, count_theirs, set(present), their_reward)
            assert ledger.total == total
            after = ledger.staking.validators_at(height + 2)
            assert before is not None
            assert after is not None
            assert after.total_power > 0
            if (height - 1) % 64 == 0:
                added, budget = 0, max(1, before.total_power // 8)
            powers = {validator.key: validator.power for validator in before.validators}
            added += sum(max(0, entry.power - powers.get(entry.key, 0)) for entry in after.validators)
            assert added <= budget
        assert theirs.root() == ledger.root
        assert decode_ledger(encode_ledger(ledger)) == ledger
        assert VERIFY.ledger_root(encode_ledger(ledger)) == ledger.root
        restored = deepcopy(theirs)
        restored.restore(VERIFY.unpack_ledger(encode_ledger(ledger)))
        assert restored.root() == ledger.root
