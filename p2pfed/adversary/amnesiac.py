"""A liar without a memory: it votes for whatever is proposed, at once."""

from __future__ import annotations

import msgspec

from p2pfed.adversary.base import Effects
from p2pfed.adversary.rewriter import Rewriter
from p2pfed.node import events
from p2pfed.node.effects import Send
from p2pfed.node.events import Event
from p2pfed.types.vote import Prevote
from p2pfed.types.wire import ProposalMessage


class Amnesiac(Rewriter):
    """Prevotes for each proposal of its height unseen, whatever it precommitted before."""

    kind = "amnesiac"

    def step(self, event: Event, now_ms: int) -> Effects:
        effects = super().step(event, now_ms)
        if not isinstance(event, events.MessageReceived) or not isinstance(event.message, ProposalMessage):
            return effects
        said, index = event.message.proposal, self.own_index
        if index is None or said.height != self.node.state.next_height:
            return effects
        vote = self._vote_for(event.message, index)
        boast = self.boast(said.height, f"voted for the proposal of round {said.round} unseen")
        return (*effects, boast, Send(self.others(), vote))

    def rewrite(self, effect: Send, now_ms: int) -> Effects:  # noqa: ARG002
        vote, work = effect.message, self.node.work
        if not isinstance(vote, Prevote) or work is None or not self.is_own(vote):
            return (effect,)
        seen = work.engine.proposal(vote.round) if vote.height == work.height else None
        return (effect if seen is None else Send(effect.peers, self._vote_for(seen, vote.validator_index)),)

    def _vote_for(self, message: ProposalMessage, index: int) -> Prevote:
        said = message.proposal
        vote = Prevote(said.height, said.round, said.value_id, said.valid_round, index, said.signature)
        return self.signed(msgspec.structs.replace(vote, validator_index=index))
