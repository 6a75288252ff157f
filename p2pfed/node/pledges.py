"""Commit before reveal: whose update is pledged, and which pledges came in time (spec/contribution.md)."""

from __future__ import annotations

from msgspec import Struct, field

from p2pfed.chain.state import ChainState
from p2pfed.errors import BadSignature, OutOfBounds, WrongHeight
from p2pfed.types.message import SignatureCheck
from p2pfed.types.pledge import Pledge


def are_asked_for(state: ChainState) -> bool:
    """Answer whether updates are pledged before they are shown: where a copy would be paid."""
    return state.genesis.params.emission > 0


class Pledges(Struct):
    """The pledges for the block after `state`. Of a trainer and base height the first one stands.

    They are *open* until this peer has waited for them long enough; what comes later is kept, since it may
    count for the block after this one, and is not in time.
    """

    state: ChainState
    is_signed_by: SignatureCheck
    first: dict[tuple[bytes, int], Pledge] = field(default_factory=dict)
    trainers: set[bytes] = field(default_factory=set)  # Who has pledged an update that may count.
    in_time: frozenset[bytes] | None = None  # Update ids; None while they are open.

    def add(self, pledge: Pledge) -> bool:
        """Verify and keep a pledge; False where one of its trainer and base height is known, or used up.

        Raises:
            WrongHeight: A base height outside the window.
            OutOfBounds: Not a trainer.
            BadSignature: Not signed by the trainer.
        """
        state, place = self.state, (pledge.trainer, pledge.base_height)
        if place in self.first or self._is_used_up(pledge):
            return False
        if state.base_of(pledge.base_height) is None:
            raise WrongHeight(
                f"a pledge from height {pledge.base_height}, and {state.height} is the last one"
            )
        if pledge.trainer not in state.trainers:
            raise OutOfBounds(f"{pledge.trainer.hex()[:12]}… is no trainer of this network")
        if not self.is_signed_by(pledge, pledge.trainer, state.chain_id):
            raise BadSignature(f"pledge of {pledge.trainer.hex()[:12]}…")
        self.first[place] = pledge
        self.trainers.add(pledge.trainer)
        return True

    def _is_used_up(self, pledge: Pledge) -> bool:
        """Answer whether a block of the window has taken it: who has not seen that block is not to blame."""
        is_older = self.state.oldest_base <= pledge.base_height < self.state.height
        return is_older and pledge.base_height <= self.state.ledger.training.last_base(pledge.trainer)

    def carry(self, before: Pledges) -> None:
        """Take over what was pledged at an earlier height and may still count."""
        for (trainer, base_height), pledge in sorted(before.first.items()):
            is_trainer = trainer in self.state.trainers
            if is_trainer and self.state.base_of(base_height) is not None and not self._is_used_up(pledge):
                self.first[trainer, base_height] = pledge
                self.trainers.add(trainer)

    @property
    def is_open(self) -> bool:
        return self.in_time is None

    def close(self) -> None:
        """From now on no pledge is in time for this block."""
        if self.in_time is None:
            self.in_time = frozenset(pledge.update_id for pledge in self.first.values())

    def is_due(self, trainer: bytes, base_height: int, update_id: bytes) -> bool:
        """Answer whether this update is pledged, and in time where that is decided."""
        if self.in_time is not None:
            return update_id in self.in_time
        pledge = self.first.get((trainer, base_height))
        return pledge is not None and pledge.update_id == update_id

    def due_trainers(self) -> frozenset[bytes]:
        """Return whose updates are to be waited for now that no other pledge is in time."""
        return frozenset(one.trainer for one in self.first.values() if one.update_id in (self.in_time or ()))

    def due(self) -> tuple[Pledge, ...]:
        """Return the pledges that others should know of, in order."""
        known = (self.first[place] for place in sorted(self.first))
        return tuple(one for one in known if self.in_time is None or one.update_id in self.in_time)
