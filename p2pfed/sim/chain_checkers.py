"""What must hold of each final block, by code that its makers don't run."""

from __future__ import annotations

from collections.abc import Callable

from p2pfed.chain.light import Rules, Search, rules_of, tell, trusted_genesis
from p2pfed.chain.state import ChainState
from p2pfed.errors import LocalError, PeerFault
from p2pfed.sim.reexecution import Payload, objection
from p2pfed.types.availability import AvailMessage, listed_ids
from p2pfed.types.block import Block
from p2pfed.types.light import LightBlock

REEXECUTED_PEERS_MAX = 16  # Plain Python merges about a thousand coordinates of so many rows in 20 ms.
REEXECUTED_SIZE_MAX = 1 << 14
ROUNDS_OF_INCLUSION = 2  # Rounds 0 and 1: later ones may leave out more (spec/consensus.md section 10).

Fail = Callable[[str], None]


class ChainCheckers:
    """The first block of each height that an honest peer stores is looked at from all sides."""

    def __init__(self, genesis: ChainState, honest: frozenset[bytes], payload: Payload, fail: Fail) -> None:
        self._before = genesis
        self._total = _stake(genesis)
        self._honest = honest
        self._payload = payload
        self._fail = fail
        self._listed: dict[tuple[int, bytes], tuple[bytes, ...]] = {}  # What the honest said they hold.
        self._rules: Rules = rules_of(genesis.genesis)
        self._light: dict[int, LightBlock] = {}
        self.included = 0  # Updates that had to be in a block, and were.

    def said(self, key: bytes, message: AvailMessage) -> None:
        """An honest validator left COLLECT with these updates in hand."""
        self._listed[message.avail.height, key] = message.update_ids

    def stored(self, block: Block, state: ChainState) -> None:
        """Look at a block that was stored, if it is the next one; `state` is the one after it."""
        if block.header.height != self._before.next_height or self._before.model is None:
            return
        if state.model is None:
            return  # A peer that catches up; another one stores it with its model.
        self._check_merge(block)
        self._check_stake(state)
        self._check_inclusion(block)
        self._check_light(block, state)
        self._before = state

    def _check_merge(self, block: Block) -> None:
        is_small = self._before.genesis.manifest.size <= REEXECUTED_SIZE_MAX
        if is_small and len(self._before.trainers) <= REEXECUTED_PEERS_MAX:
            wrong = objection(self._before, block, self._payload)
            if wrong:
                self._fail(f"block {block.header.height} is not what its updates make: {wrong}")

    def _check_stake(self, state: ChainState) -> None:
        total, emission = _stake(state), state.genesis.params.emission
        paid = sum(standing.earned for standing in state.ledger.contribution.standings)
        if total != self._total + paid:
            self._fail(f"stake of {self._total} and pay of {paid} became {total} at height {state.height}")
        before = sum(standing.earned for standing in self._before.ledger.contribution.standings)
        if not 0 <= paid - before <= emission:
            self._fail(f"block {state.height} pays {paid - before}; the emission is {emission}")

    def _check_inclusion(self, block: Block) -> None:
        """What every honest signer of the block's availability votes held is in the block."""
        header, body, validators = block.header, block.body, self._before.validators.validators
        if header.round0 >= ROUNDS_OF_INCLUSION:
            return
        held: set[bytes] | None = None
        for entry in body.avails:
            key = validators[entry.validator_index].key
            if key in self._honest:
                ids = self._listed.get((header.height, key)) or listed_ids(body.candidates, entry)
                held = set(ids) if held is None else held & {*ids}
        missing = (held or set()) - {update.update_id for update in body.updates}
        self.included += len(held or ())
        for update_id in sorted(missing):
            self._fail(f"block {header.height} leaves out update {update_id.hex()} that all honest held")

    def _check_light(self, block: Block, state: ChainState) -> None:
        """A light client that knows genesis alone finds the same block."""
        height = block.header.height
        validators, following = state.validators_at(height), state.validators_at(height + 1)
        if validators is None or following is None:
            self._fail(f"the sets of height {height} are forgotten at once")
            return
        self._light[height] = LightBlock(block.header, block.commit, validators, following)
        search, now_ms = Search(trusted_genesis(state.genesis), height), block.header.time_ms
        try:
            while (wanted := search.wanted) is not None:
                search, _ = tell(search, self._light[wanted], self._rules, now_ms)
        except (PeerFault, LocalError, KeyError) as error:
            self._fail(f"a light client refuses block {height}: {error!r}")
            return
        if search.trusted.value_id != block.header.value_id:
            self._fail(f"a light client finds another block of height {height}")


def _stake(state: ChainState) -> int:
    """Return all that is owned, bonded or burned, counted account by account."""
    accounts, stakes = state.ledger.accounts, state.ledger.staking.stakes
    withdrawn = sum(withdrawal.amount for stake in stakes for withdrawal in stake.withdrawals)
    owned = sum(account.balance for account in accounts.accounts) + sum(stake.bond for stake in stakes)
    return accounts.burned + owned + withdrawn
