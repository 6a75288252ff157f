"""All that a peer must know after a block to make, check or apply the next one."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from p2pfed.errors import LocalError, MalformedMessage, StorageFault
from p2pfed.ledger.module import BaseModel, Context
from p2pfed.ledger.state import LedgerState, decode_ledger, encode_ledger, genesis_ledger
from p2pfed.primitives.digest import ZERO_DIGEST
from p2pfed.types.block import Header
from p2pfed.types.genesis import Genesis, genesis_exponents_root
from p2pfed.types.model import ModelState
from p2pfed.types.validators import Validator, ValidatorSet

__all__ = ["ChainState", "decode_ledger", "encode_ledger", "genesis_state", "restore", "with_model"]


class ChainState(Struct, frozen=True, eq=False):
    """The state after the block of `height`, or that of genesis, one below the first block.

    `header` is that block's, None at genesis. `model` is None while catching up: its roots are known from the
    header, its integers are not.
    """

    genesis: Genesis
    height: int
    header_hash: bytes  # The block's value_id; zeros at genesis.
    time_ms: int
    train_index: int
    ledger: LedgerState
    model: ModelState | None
    header: Header | None

    @property
    def chain_id(self) -> bytes:
        return self.genesis.chain_id

    @property
    def next_height(self) -> int:
        return self.height + 1

    @property
    def seed(self) -> bytes:
        """seed_h of section 14, for dice; height 0 has the chain id."""
        return self.ledger.seed

    @property
    def validators(self) -> ValidatorSet:
        """Who votes on the next block."""
        return self._known_validators(self.height + 1)

    @property
    def next_validators(self) -> ValidatorSet:
        """Who votes on the block after the next."""
        return self._known_validators(self.height + 2)

    @property
    def last_validators(self) -> ValidatorSet:
        """Who voted on the block of this state; meaningless at genesis."""
        return self._known_validators(self.height)

    @property
    def trainers(self) -> tuple[bytes, ...]:
        """Keys that may send an update for the next block, ascending."""
        return self.ledger.trainer_keys_at(self.next_height)

    @property
    def trainer_bonds(self) -> tuple[int, ...]:
        """The power of `trainers`, in their order: what `f` is derived from."""
        return tuple(trainer.power for trainer in self.ledger.trainers_at(self.next_height))

    @property
    def expected_trainers(self) -> tuple[bytes, ...]:
        """Trainers worth waiting for at the next height, ascending (section 9).

        "In U of the last three heights that were not EMPTY, without those absent from the last one" are the
        trainers of the last one, so that is all the ledger keeps.
        """
        trainers = self.trainers
        last = self.ledger.training.last_trainers
        expected = tuple(key for key in trainers if key in last)
        return expected if expected and self.height - self.genesis.height >= 3 else trainers

    @property
    def base_model(self) -> BaseModel:
        """The model of this state, as updates name it."""
        return BaseModel(self.height, self.model_root, self.train_index)

    @property
    def oldest_base(self) -> int:
        """The least height whose model an update of the next block may be from."""
        lag = self.genesis.params.update_lag
        return max(self.genesis.height, self.next_height - lag, self.ledger.quality.floor)

    def base_of(self, height: int) -> BaseModel | None:
        """Return the model that an update of the next block with this base height is from; None: too old."""
        if height == self.height:
            return self.base_model
        return next((base for base in self.ledger.training.bases if base.height == height), None)

    @property
    def model_root(self) -> bytes:
        return self.header.model_root if self.header else self.genesis.model_root

    @property
    def exponents_root(self) -> bytes:
        return self.header.exponents_root if self.header else genesis_exponents_root(self.genesis)

    @property
    def oldest_evidence(self) -> int:
        """The least height whose evidence the next block may carry."""
        return self.ledger.staking.oldest

    def context(self, proposer: bytes, time_ms: int) -> Context:
        """Return what the ledger needs to know of the next block."""
        return Context(self.chain_id, self.genesis.params, self.next_height, time_ms, proposer)

    @property
    def trial_context(self) -> Context:
        """Return a context to try on the ledger whether a transaction or conviction would run next."""
        return self.context(self.validators.validators[0].key, self.time_ms + 1)

    def validators_at(self, height: int) -> ValidatorSet | None:
        """Return the validators of `height`, at most two ahead; None where they are forgotten."""
        assert height <= self.height + 2
        return self.ledger.staking.validators_at(height)

    def members_at(self, height: int) -> tuple[Validator, ...] | None:
        """Return who has power at `height`, to vote or to train; None where they are forgotten."""
        assert height <= self.height + 2
        return self.ledger.staking.members_at(height)

    def _known_validators(self, height: int) -> ValidatorSet:
        validators = self.validators_at(height)
        assert validators is not None
        return validators


def genesis_state(genesis: Genesis, model: ModelState | None) -> ChainState:
    """Return the state before the first block; a `model` of None: it is not here.

    Raises:
        LocalError: `model` is not the one that genesis names.
    """
    state = ChainState(
        genesis=genesis,
        height=genesis.height,
        header_hash=ZERO_DIGEST,
        time_ms=genesis.time_ms,
        train_index=0,
        ledger=genesis_ledger(genesis),
        model=None,
        header=None,
    )
    try:
        return state if model is None else with_model(state, model)
    except MalformedMessage as error:
        raise LocalError(f"this is not the model of genesis: {error}") from None


def restore(genesis: Genesis, header: Header, ledger: bytes, model: ModelState | None) -> ChainState:
    """Return the state after the block of `header`, from what was stored.

    Raises:
        StorageFault: The header is of another network, or ledger or model don't match its roots.
    """
    if header.chain_id != genesis.chain_id:
        raise StorageFault(f"the stored block is of network {header.chain_id.hex()[:12]}…")
    try:
        state = after(genesis, header, decode_ledger(ledger), None)
        if state.ledger.root != header.state_root:
            raise MalformedMessage(
                f"the ledger has root {state.ledger.root.hex()}, the header {header.state_root.hex()}"
            )
        return state if model is None else with_model(state, model)
    except MalformedMessage as error:
        raise StorageFault(f"the stored state of height {header.height} is damaged: {error}") from None


def with_model(state: ChainState, model: ModelState) -> ChainState:
    """Return `state` with its model.

    Raises:
        MalformedMessage: Weights or exponents don't match the roots of the state.
    """
    if model.root != state.model_root:
        raise MalformedMessage(f"model root {model.root.hex()} where {state.model_root.hex()} is agreed")
    if model.exponents_root != state.exponents_root:
        raise MalformedMessage(
            f"exponents root {model.exponents_root.hex()} where {state.exponents_root.hex()} is agreed"
        )
    return replace(state, model=model)


def after(genesis: Genesis, header: Header, ledger: LedgerState, model: ModelState | None) -> ChainState:
    """Return the state after the block of `header`, whose roots are those of `ledger` and `model`."""
    return ChainState(
        genesis=genesis,
        height=header.height,
        header_hash=header.value_id,
        time_ms=header.time_ms,
        train_index=header.train_index,
        ledger=ledger,
        model=model,
        header=header,
    )
