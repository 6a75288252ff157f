"""The contract of a ledger module: its own slice of the state, and one door through which it changes.

A module never touches another's slice. What it wants done elsewhere it returns as calls, which
`ledger.execute` carries to the module that owns them.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Any, Protocol, TypeVar

from msgspec import Struct

from p2pfed.types.genesis import Params
from p2pfed.types.message import Digest32, Height, Message
from p2pfed.types.transaction import Transaction

Slice = TypeVar("Slice", bound=Message)


class Offence(IntEnum):
    """What a participant can be convicted of; the numbers are those of spec/consensus.md section 12."""

    DUPLICATE_VOTE = 1
    AMNESIA = 2
    DUPLICATE_PROPOSAL = 3
    LIGHT_CLIENT_ATTACK = 4
    INVALID_UPDATE = 5
    DUPLICATE_UPDATE = 6
    DUPLICATE_AVAIL = 7


class BaseModel(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The model after the block of `height`: an update that trained from it names `root`.

    train_index: How many new models there were by then; the difference of two is an update's age.
    """

    height: Height
    root: Digest32
    train_index: Height


class Context(Struct, frozen=True):
    """The block that is executed: its height, time and proposer, its network and what genesis chose."""

    chain_id: bytes
    params: Params
    height: int
    time_ms: int
    proposer: bytes


class Run(Struct, frozen=True):
    """To accounts: charge the sender of `transaction`, whose signature is checked, and carry it out."""

    transaction: Transaction


class Credit(Struct, frozen=True):
    """To accounts: stake that has waited long enough is free again, or somebody is paid for its work."""

    key: bytes
    amount: int


class Burn(Struct, frozen=True):
    """To accounts: note that `amount` of somebody's stake is gone for ever."""

    amount: int


class AddBond(Struct, frozen=True):
    """To staking: `amount` has left the balance of `key`."""

    key: bytes
    amount: int


class AskExit(Struct, frozen=True):
    """To staking: `key` wants `amount` of its bond back."""

    key: bytes
    amount: int


class Release(Struct, frozen=True):
    """To staking: `key` is back from jail."""

    key: bytes


class Slash(Struct, frozen=True):
    """To staking: take up to `amount` of what `key` has at stake, and have it burned."""

    key: bytes
    amount: int


class Tombstone(Struct, frozen=True):
    """To staking: `key` never votes or trains again."""

    key: bytes


class Present(Struct, frozen=True):
    """To staking: `keys` showed a sign of life in this block."""

    keys: frozenset[bytes]


class Pause(Struct, frozen=True):
    """To training: `key` may not train up to the block of `until_height`."""

    key: bytes
    until_height: int


class Convict(Struct, frozen=True):
    """To slashing: the offence of `culprit` at `height` is proven (`chain` checked the evidence).

    `power` of `total_power` is what it voted with at that height: penalties are shares of it.
    """

    culprit: bytes
    offence: Offence
    height: int
    power: int
    total_power: int


class Expire(Struct, frozen=True):
    """To slashing: no evidence of a height below `oldest` counts any more."""

    oldest: int


class CountUpdates(Struct, frozen=True):
    """To training: the update set of a height, as (trainer key, base height) in ascending order.

    `counted` are in the update set, `dropped` sent two updates of one base: no other of theirs may count that
    is not from a newer one. `base` is the model before this block, which later updates may still be from.
    """

    base: BaseModel
    counted: tuple[tuple[bytes, int], ...]
    dropped: tuple[tuple[bytes, int], ...]
    is_empty: bool


class Reward(Struct, frozen=True):
    """To contribution: who worked for a block.

    trainers: (key, power) of all who might train for it; not empty.
    scores: (key, score) of its update set, in units of 2^-16.
    sketches: Of its aggregate and then of its update set; none where it is EMPTY.
    available: The keys whose availability vote it carries, and (key, power) of its validators.
    committed: The keys whose precommit of the last block it carries, and the validators of that one; none at
        the first.
    """

    trainers: tuple[tuple[bytes, int], ...]
    scores: tuple[tuple[bytes, int], ...]
    sketches: tuple[bytes, ...]
    available: tuple[frozenset[bytes], tuple[tuple[bytes, int], ...]]
    committed: tuple[frozenset[bytes], tuple[tuple[bytes, int], ...]]


class Word(Struct, frozen=True):
    """What a validator says of the last model; see `types.quality`."""

    sender: bytes
    score: int
    classes: bytes


class Judge(Struct, frozen=True):
    """To quality: what was said of the model of the last block, None where that has no new one.

    exponents_root: Of that model.
    voters: (key, power) of the validators of that block.
    """

    model: BaseModel | None
    exponents_root: bytes
    voters: tuple[tuple[bytes, int], ...]
    words: tuple[Word, ...]


Payload = (
    Run
    | Credit
    | Burn
    | AddBond
    | AskExit
    | Release
    | Slash
    | Tombstone
    | Present
    | Pause
    | Convict
    | Expire
    | CountUpdates
    | Reward
    | Judge
)


class Module(Protocol):
    """What `ledger.execute` asks of a module; a plain Python module with these names is one."""

    @property
    def name(self) -> str:
        """The name of the slice: a field of LedgerState and the prefix of the module's leaves."""

    def execute(self, payload: Any, context: Context, state: Any) -> tuple[Any, tuple[Payload, ...]]:
        """Return the slice after `payload`, and calls to other modules.

        Raises:
            InvalidTransaction: Refused; nothing has changed.
        """

    def end_block(self, context: Context, state: Any) -> tuple[Any, tuple[Payload, ...]]:
        """Return the slice after the last payload of the block, and calls to other modules."""

    def leaves(self, state: Any) -> Iterator[tuple[bytes, bytes]]:
        """Yield every (key, value) of the slice: all of it, so that the state root covers each bit."""
