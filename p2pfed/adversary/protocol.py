"""Liars about the protocol: silence, two votes, two proposals, a false aggregate."""

from __future__ import annotations

import msgspec
import numpy as np
from msgspec.structs import replace

from p2pfed.adversary.base import Adversary, Effects
from p2pfed.adversary.effects import AdversaryEffect
from p2pfed.node import events
from p2pfed.node.effects import Effect, Send
from p2pfed.node.events import Event
from p2pfed.primitives.digest import tagged
from p2pfed.primitives.merkle import chunk_root
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import ProposalMessage


class Silent(Adversary):
    """Keeps its pipes open and says nothing."""

    kind = "silent"

    def step(self, event: Event, now_ms: int) -> Effects:
        effects = self.node.step(event, now_ms)
        kept = tuple(effect for effect in effects if not isinstance(effect, Send))
        if isinstance(event, events.Trained):
            return (self.boast(event.base_height + 1, "kept its update to itself"), *kept)
        return kept


class _Splitter(Adversary):
    """Tells one half of the peers one thing and the other half another."""

    def step(self, event: Event, now_ms: int) -> Effects:
        spread: list[Effect | AdversaryEffect] = []
        for effect in self.node.step(event, now_ms):
            other = self.contradiction(effect) if isinstance(effect, Send) else None
            if other is None or not isinstance(effect, Send):
                spread.append(effect)
                continue
            half = (len(effect.peers) + 1) // 2
            spread += [Send(effect.peers[:half], effect.message), Send(effect.peers[half:], other)]
            spread.append(self.boast(self.node.state.next_height, f"split its {type(other).__name__}"))
        return tuple(spread)

    def contradiction(self, effect: Send) -> Prevote | Precommit | ProposalMessage | None:
        """Return what the second half hears instead, None to stay honest."""
        raise NotImplementedError


class DoubleVote(_Splitter):
    """Signs two different votes wherever it votes."""

    kind = "double_vote"

    def contradiction(self, effect: Send) -> Prevote | Precommit | None:
        vote, chain_id = effect.message, self.node.state.chain_id
        if not isinstance(vote, Prevote | Precommit) or vote.validator_index != self.own_index:
            return None
        false: Prevote | Precommit
        other_value = tagged("lie", vote.body()) if vote.value_id is None else None
        if isinstance(vote, Prevote):
            false = msgspec.structs.replace(vote, value_id=other_value, valid_round=-1)
        else:
            false = msgspec.structs.replace(vote, value_id=other_value)
        return msgspec.structs.replace(false, signature=self.key.sign(false.digest(chain_id)))


class EquivocatingProposer(_Splitter):
    """Signs two proposals of one round: the second with another time in its header."""

    kind = "equivocating_proposer"

    def contradiction(self, effect: Send) -> ProposalMessage | None:
        message, chain_id = effect.message, self.node.state.chain_id
        if not isinstance(message, ProposalMessage) or message.proposal.validator_index != self.own_index:
            return None
        header = msgspec.structs.replace(message.header, time_ms=message.header.time_ms + 1)
        proposal = msgspec.structs.replace(message.proposal, value_id=header.value_id)
        signature = self.key.sign(proposal.digest(chain_id))
        return ProposalMessage(msgspec.structs.replace(proposal, signature=signature), header, message.polka)


class WrongAggregate(Adversary):
    """Adds 1 to one coordinate of the aggregate whenever it proposes, with all roots made to fit."""

    kind = "wrong_aggregate"

    def step(self, event: Event, now_ms: int) -> Effects:
        before = self.node.state.model
        is_ours = isinstance(event, events.ProposalBuilt) and not event.header.is_empty
        if not (isinstance(event, events.ProposalBuilt) and is_ours and event.state.model and before):
            return self.node.step(event, now_ms)
        model = event.state.model
        weights = model.weights.copy()
        weights[0] += 1
        false = replace(model, weights=weights)
        aggregate = (weights.astype(np.int64) - before.weights).astype("<i4")
        header = msgspec.structs.replace(
            event.header, aggregate_root=chunk_root(aggregate.tobytes()), model_root=false.root
        )
        state = replace(event.state, header=header, header_hash=header.value_id, model=false)
        boast = self.boast(event.height, "proposed an aggregate with 1 added to one coordinate")
        return (boast, *self.node.step(replace(event, header=header, state=state), now_ms))
