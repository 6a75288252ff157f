"""A proposer that wants one trainer out, as far as it may choose."""

from __future__ import annotations

from msgspec.structs import replace

from p2pfed.adversary.base import Adversary, Effects, Means
from p2pfed.adversary.effects import AdversaryEffect
from p2pfed.consensus.quorum import has_quorum
from p2pfed.consensus.signer import SignAvail, SignRequest
from p2pfed.node.effects import BuildProposal, Effect
from p2pfed.node.events import Event
from p2pfed.types.availability import AvailMessage


class Censor(Adversary):
    """Leaves out the update of the smallest other trainer wherever the rules let it choose."""

    kind = "censor"

    def __init__(self, means: Means) -> None:
        super().__init__(means)
        self.bend_signing(self._less)

    def step(self, event: Event, now_ms: int) -> Effects:
        done: list[Effect | AdversaryEffect] = []
        for effect in self.node.step(event, now_ms):
            if isinstance(effect, BuildProposal):
                avails = self._chosen(effect)
                done.append(
                    self.boast(effect.state.next_height, f"builds from {len(avails)} lists of its choice")
                )
                inputs = replace(effect.inputs, avails=avails)
                done.append(replace(effect, inputs=inputs))
            else:
                done.append(effect)
        return tuple(done)

    def _less(self, request: SignRequest) -> SignRequest:
        if not isinstance(request, SignAvail):
            return request
        unwanted = self._unwanted()
        return replace(request, update_ids=tuple(one for one in request.update_ids if one not in unwanted))

    def _chosen(self, effect: BuildProposal) -> tuple[AvailMessage, ...]:
        """Return a quorum of the availability votes, with those that list the victim last."""
        unwanted, validators = self._unwanted(), effect.state.validators
        chosen: list[AvailMessage] = []
        for message in sorted(
            effect.inputs.avails,
            key=lambda one: (bool(unwanted & {*one.update_ids}), one.avail.validator_index),
        ):
            power = validators.power_of(one.avail.validator_index for one in chosen)
            if not has_quorum(power, validators.total_power):
                chosen.append(message)
        return tuple(sorted(chosen, key=lambda one: one.avail.validator_index))

    def _unwanted(self) -> set[bytes]:
        """Return the ids of the victim's updates, as far as they are known here."""
        friends = {self.key.public, *self.colluders}
        victim = next((key for key in self.node.state.trainers if key not in friends), None)
        known = self.node.work.pool.known if self.node.work is not None else {}
        return {update_id for update_id, header in known.items() if header.trainer == victim}
