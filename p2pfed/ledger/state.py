"""The state of the ledger after a block, and the root that commits to every bit of it."""

from __future__ import annotations

from p2pfed.ledger.module import Module
from p2pfed.ledger.modules import accounts, slashing, staking, training
from p2pfed.ledger.modules.accounts import Account, AccountsState
from p2pfed.ledger.modules.slashing import SlashingState
from p2pfed.ledger.modules.staking import SetFrom, StakingState
from p2pfed.ledger.modules.training import TrainingState
from p2pfed.primitives import codec, merkle
from p2pfed.primitives.digest import tagged
from p2pfed.types.genesis import Genesis
from p2pfed.types.message import Digest32, Message
from p2pfed.types.params import MIB

MODULES: tuple[Module, ...] = (accounts, staking, training, slashing)

# 400 validators leave one by one: 400 sets of at most 400 entries of 44 bytes are 7 MB, the rest is small.
LEDGER_BYTES_MAX = 16 * MIB


class LedgerState(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One slice a module, under the module's name, and the seed of the height."""

    seed: Digest32
    accounts: AccountsState
    staking: StakingState
    training: TrainingState
    slashing: SlashingState

    @property
    def root(self) -> bytes:
        """Return the RFC 6962 root over `leaves`: the header's state_root."""
        return merkle.root([codec.encode(leaf) for leaf in self.leaves()])

    @property
    def trainers(self) -> tuple[Account, ...]:
        """Return who may train at the next height, in ascending order of key."""
        return tuple(account for account in self.accounts.accounts if account.bond and not account.tombstoned)

    def account(self, key: bytes) -> Account | None:
        """Return the account of `key`, or None."""
        return self.accounts.account(key)

    def leaves(self) -> tuple[tuple[bytes, bytes], ...]:
        """Return every (key, value) of the state in ascending order of key; a key is `module/name`."""
        leaves = [(b"seed", self.seed)]
        for module in MODULES:
            prefix = module.name.encode() + b"/"
            leaves.extend((prefix + key, value) for key, value in module.leaves(getattr(self, module.name)))
        leaves.sort()
        assert len(leaves) == len(dict(leaves))
        return tuple(leaves)


def genesis_ledger(genesis: Genesis) -> LedgerState:
    """Return the ledger before the first block: everybody votes and nobody has trained."""
    return LedgerState(
        seed=genesis.chain_id,
        accounts=AccountsState(
            tuple(
                Account(participant.key, participant.balance, participant.bond, 0, tombstoned=False)
                for participant in genesis.participants
            ),
            burned=0,
        ),
        staking=StakingState((SetFrom(1, genesis.validators),), ()),
        training=TrainingState((), ()),
        slashing=SlashingState(()),
    )


def next_seed(seed: bytes, parent_hash: bytes) -> bytes:
    """Return seed_h = H("seed", seed_{h-1} || value_id_{h-1}); a proposer can bias it (section 14)."""
    return tagged("seed", seed + parent_hash)


def encode_ledger(ledger: LedgerState) -> bytes:
    """Return the canonical bytes to store; `root` is taken over leaves, not over these."""
    return codec.encode(ledger)


def decode_ledger(data: bytes) -> LedgerState:
    """Return the ledger in `data`; raises MalformedMessage. Compare its root with the header's state_root."""
    return codec.decode(data, LedgerState, LEDGER_BYTES_MAX)
