"""The contract of a ledger module: its own slice of the state, and one door through which it changes.

A module never touches another's slice. What it wants done elsewhere it returns as calls, which
`ledger.execute` carries to the module that owns them.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Any, Protocol, TypeVar

from msgspec import Struct

from p2pfed.types.message import Message
from p2pfed.types.transaction import Transfer

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


class Pay(Struct, frozen=True):
    """To accounts: carry out `transfer`, whose signature is checked; half of its fee goes to `proposer`."""

    transfer: Transfer
    proposer: bytes


class BurnBond(Struct, frozen=True):
    """To accounts: burn floor(bond * numerator / denominator) of the bond of `key`."""

    key: bytes
    numerator: int
    denominator: int


class Tombstone(Struct, frozen=True):
    """To accounts: `key` never votes or trains again."""

    key: bytes


class Leave(Struct, frozen=True):
    """To staking: take `key` out of the validator set, from two heights on."""

    key: bytes


class Convict(Struct, frozen=True):
    """To slashing: the offence of `culprit` at `height` is proven (`chain` checked the evidence)."""

    culprit: bytes
    offence: Offence
    height: int


class CountUpdates(Struct, frozen=True):
    """To training: the update set of a height, as trainer keys in ascending order.

    `counted` are in the update set, `dropped` sent two updates: no other of this `base_height` may count.
    """

    base_height: int
    counted: tuple[bytes, ...]
    dropped: tuple[bytes, ...]
    is_empty: bool


Payload = Pay | BurnBond | Tombstone | Leave | Convict | CountUpdates


class Module(Protocol):
    """What `ledger.execute` asks of a module; a plain Python module with these names is one."""

    @property
    def name(self) -> str:
        """The name of the slice: a field of LedgerState and the prefix of the module's leaves."""

    def execute(
        self, payload: Any, sender: bytes, height: int, state: Any
    ) -> tuple[Any, tuple[Payload, ...]]:
        """Return the slice after `payload`, and calls to other modules.

        `sender` is who answers for it: the signer of a transaction, else the proposer of the block.

        Raises:
            InvalidTransaction: Refused; nothing has changed.
        """

    def end_block(self, height: int, state: Any) -> Any:
        """Return the slice after the last payload of `height`."""

    def leaves(self, state: Any) -> Iterator[tuple[bytes, bytes]]:
        """Yield every (key, value) of the slice: all of it, so that the state root covers each bit."""
