"""Laws of the ledger: nothing is created or lost, and no history makes it contradict itself."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from support.chain import NO_SIGNATURE, World

from p2pfed.errors import InvalidTransaction
from p2pfed.ledger.execute import begin_block, end_block, execute_convictions, execute_transaction
from p2pfed.ledger.module import Convict, CountUpdates, Offence
from p2pfed.ledger.state import decode_ledger, encode_ledger, genesis_ledger
from p2pfed.types.transaction import Transfer

COUNT = 4
WORLD = World([1, 19, 200, 12_345])
SIGNED: dict[Transfer, Transfer] = {}

people = st.integers(0, COUNT - 1)
amounts = st.one_of(st.integers(0, 30), st.integers(0, 1500), st.just(1 << 60))
transfers = st.tuples(st.just("pay"), people, people, amounts, amounts, st.integers(0, 3))
convictions = st.tuples(st.just("convict"), people, st.sampled_from(list(Offence)))
blocks = st.lists(st.lists(st.one_of(transfers, convictions), max_size=6), min_size=1, max_size=6)


def signed_transfer(sender: int, recipient: int, amount: int, fee: int, nonce: int) -> Transfer:
    """Return the transfer; signing is most of the time, so each is signed once."""
    publics = WORLD.publics
    bare = Transfer(publics[sender], publics[recipient], amount, fee, nonce, NO_SIGNATURE)
    if bare not in SIGNED:
        SIGNED[bare] = WORLD.transfer(sender, recipient, amount, fee, nonce)
    return SIGNED[bare]


@settings(max_examples=150, deadline=None)
@given(blocks=blocks, proposers=st.lists(people, min_size=6, max_size=6))
def test_what_is_owned_and_burned_stays_the_same_sum(blocks: list[list[tuple]], proposers: list[int]) -> None:  # type: ignore[type-arg]
    publics, chain_id = WORLD.publics, WORLD.genesis.chain_id
    ledger = genesis_ledger(WORLD.genesis)
    total = ledger.accounts.total
    for height, steps in enumerate(blocks, start=1):
        proposer = publics[proposers[height - 1]]
        ledger = begin_block(ledger, bytes(32))
        for step in steps:
            before = ledger
            try:
                if step[0] == "convict":
                    ledger = execute_convictions(
                        ledger, [Convict(publics[step[1]], step[2], height)], height, proposer
                    )
                else:
                    transfer = signed_transfer(*step[1:])
                    ledger = execute_transaction(ledger, transfer, height, proposer, chain_id)
            except InvalidTransaction:
                assert ledger is before
            assert ledger.accounts.total == total
            assert ledger.accounts.burned >= before.accounts.burned
            assert all(account.balance >= 0 and account.bond >= 0 for account in ledger.accounts.accounts)
        counted = tuple(account.key for account in ledger.trainers)
        ledger = end_block(ledger, CountUpdates(height - 1, counted, (), not counted), height, proposer)
        assert ledger.accounts.total == total
        validators = ledger.staking.validators_at(height + 2)
        assert validators is not None
        assert validators.total_power > 0
        alive = [account.key for account in ledger.accounts.accounts if not account.tombstoned]
        assert not alive or alive == [validator.key for validator in validators.validators]
        assert decode_ledger(encode_ledger(ledger)) == ledger
