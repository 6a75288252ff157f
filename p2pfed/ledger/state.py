"""The state of the ledger after a block, and the root that commits to every bit of it."""

from __future__ import annotations

from functools import cached_property

import msgspec

from p2pfed.ledger.module import Module
from p2pfed.ledger.modules import accounts, contribution, quality, slashing, staking, training
from p2pfed.ledger.modules.accounts import Account, AccountsState
from p2pfed.ledger.modules.contribution import ContributionState
from p2pfed.ledger.modules.quality import QualityState
from p2pfed.ledger.modules.slashing import SlashingState
from p2pfed.ledger.modules.staking import Epoch, Roles, StakingState
from p2pfed.ledger.modules.training import TrainingState
from p2pfed.ledger.stake import PowerFrom, Stake, new_stake
from p2pfed.primitives import codec, merkle
from p2pfed.primitives.digest import tagged
from p2pfed.types.genesis import Genesis
from p2pfed.types.message import Digest32, Message
from p2pfed.types.params import MIB, STAKE_TOTAL_MAX
from p2pfed.types.validators import Validator

MODULES: tuple[Module, ...] = (accounts, staking, training, slashing, contribution, quality)

# 512 stakes of at most 144 powers of 20 bytes and a kilobyte of the rest are 2 MB, the words of 400
# validators on 21 models 0.9 MB; accounts are small.
LEDGER_BYTES_MAX = 4 * MIB


class LedgerState(Message, frozen=True, array_like=True, forbid_unknown_fields=True, dict=True):
    """One slice a module, under the module's name, and the seed of the height."""

    seed: Digest32
    accounts: AccountsState
    staking: StakingState
    training: TrainingState
    slashing: SlashingState
    contribution: ContributionState = ContributionState()
    quality: QualityState = QualityState()

    @cached_property
    def _trainers(self) -> dict[int, tuple[Validator, ...]]:
        return {}

    @cached_property
    def _trainer_keys(self) -> dict[int, tuple[bytes, ...]]:
        return {}

    @property
    def root(self) -> bytes:
        """Return the RFC 6962 root over `leaves`: the header's state_root."""
        return merkle.root([codec.encode(leaf) for leaf in self.leaves()])

    @property
    def total(self) -> int:
        """Return what never changes: all that is spendable, at stake, burned or still to be paid."""
        return self.accounts.total + self.staking.total + self.contribution.left

    def trainers_at(self, height: int) -> tuple[Validator, ...]:
        """Return who may train for the block of `height`, the next one, in ascending order of key.

        Those are all who have power then, but for who only votes, lied about votes or has to sit out. So who
        votes too weighs as much as it votes, and nobody's weight moves faster than the set does.
        """
        if height not in self._trainers:
            members = self.staking.members_at(height)
            assert members is not None
            tombstoned = frozenset(stake.key for stake in self.staking.stakes if stake.tombstoned)
            barred = tombstoned | self.staking.only_vote
            self._trainers[height] = tuple(
                member
                for member in members
                if member.key not in barred and not self.training.is_paused(member.key, height)
            )
        return self._trainers[height]

    def trainer_keys_at(self, height: int) -> tuple[bytes, ...]:
        """Return the keys of `trainers_at`; every header and digest asks for them."""
        if height not in self._trainer_keys:
            self._trainer_keys[height] = tuple(trainer.key for trainer in self.trainers_at(height))
        return self._trainer_keys[height]

    def account(self, key: bytes) -> Account | None:
        """Return the account of `key`, or None."""
        return self.accounts.account(key)

    def stake(self, key: bytes) -> Stake | None:
        """Return what `key` has at stake, or None."""
        return self.staking.stake(key)

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
    """Return the ledger before the first block: who has a bond votes, and nobody has trained."""
    return LedgerState(
        seed=genesis.chain_id,
        accounts=AccountsState(
            tuple(Account(participant.key, participant.balance, 0) for participant in genesis.participants),
            burned=0,
        ),
        staking=StakingState(
            stakes=tuple(
                msgspec.structs.replace(
                    new_stake(participant.key),
                    bond=participant.bond,
                    powers=(PowerFrom(genesis.params.height_first, participant.bond),),
                )
                for participant in genesis.participants
                if participant.bond
            ),
            present=(),
            oldest=genesis.params.height_first,
            marks=(),
            epoch=Epoch(genesis.validators.total_power, 0, 0),
            roles=_roles(genesis),
        ),
        training=TrainingState((), (), ()),
        slashing=SlashingState(()),
        contribution=_first_contribution(genesis),
    )


def _roles(genesis: Genesis) -> Roles | None:
    """Return who only trains and who only votes, None where all do both."""
    trainers = tuple(one.key for one in genesis.participants if not one.votes)
    validators = tuple(one.key for one in genesis.participants if not one.trains)
    epoch = Epoch(sum(genesis.trainer_bonds), 0, 0)
    return Roles(trainers, validators, epoch) if trainers or validators else None


def _first_contribution(genesis: Genesis) -> ContributionState:
    """Return what may be created: nothing where genesis has no emission."""
    if not genesis.params.emission:
        return ContributionState()
    total = sum(participant.bond + participant.balance for participant in genesis.participants)
    return ContributionState(left=STAKE_TOTAL_MAX - total)


def next_seed(seed: bytes, parent_hash: bytes) -> bytes:
    """Return seed_h = H("seed", seed_{h-1} || value_id_{h-1}); a proposer can bias it (section 14)."""
    return tagged("seed", seed + parent_hash)


def encode_ledger(ledger: LedgerState) -> bytes:
    """Return the canonical bytes to store; `root` is taken over leaves, not over these.

    Where updates may be one height old only, the slice of trainers ends before its models; where all vote
    and train, that of stake before its roles; where nobody is paid for work there is no slice `contribution`.
    """
    slices = {name: getattr(ledger, name) for name in ledger.__struct_fields__}
    if ledger.staking.roles is None:
        slices["staking"] = msgspec.structs.astuple(ledger.staking)[:-1]
    if not ledger.training.bases:
        slices["training"] = msgspec.structs.astuple(ledger.training)[:-1]
    for name, nothing in (("quality", QualityState()), ("contribution", ContributionState())):
        if slices[name] != nothing:
            break  # A slice that is spelled has all before it spelled, too.
        del slices[name]
    return codec.encode(tuple(slices.values()))


def decode_ledger(data: bytes) -> LedgerState:
    """Return the ledger in `data`; raises MalformedMessage. Compare its root with the header's state_root."""
    return codec.decode(
        data, LedgerState, LEDGER_BYTES_MAX, lambda found, spelled: encode_ledger(found) == spelled
    )
