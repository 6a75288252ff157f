"""A peer's own updates: one training at a time, one signature for each base height."""

from __future__ import annotations

from p2pfed.chain.state import ChainState
from p2pfed.node import pledges as pledging
from p2pfed.node.effects import Effect, Observe, Train
from p2pfed.node.events import Trained, TrainingFailed
from p2pfed.node.facts import UpdateMade, UpdateSkipped
from p2pfed.node.height import HeightWork
from p2pfed.node.neighbours import Neighbours
from p2pfed.node.signing import SigningHand
from p2pfed.types.update import CODECS, UpdateHeader
from p2pfed.types.wire import ControlMessage


class OwnUpdates:
    """Asks for trainings and publishes what comes of them.

    A training goes on while its update could still count, so a slow trainer is as late as the network allows
    and then goes on from the newest model. Where tau is 1 every height begins a training of its own.
    """

    def __init__(
        self, hand: SigningHand, neighbours: Neighbours, outbox: list[Effect], *, is_learning: bool
    ) -> None:
        self._hand = hand
        self._neighbours = neighbours
        self._outbox = outbox
        self._is_learning = is_learning
        self._under_way: int | None = None  # The base height of the training.

    def start_height(self, state: ChainState, work: HeightWork, now_ms: int) -> None:
        """Publish again what was signed before a restart (R7); ask for an update from the newest model."""
        signed = self._hand.record.trainer
        if signed is not None and self._may_count(state, signed) and signed.update_id not in work.pool.known:
            self._publish(work, signed, now_ms)
        if signed is None or signed.base_height < state.height:
            self._begin(state)

    def take_trained(self, event: Trained, state: ChainState, work: HeightWork | None, now_ms: int) -> None:
        """Sign and publish our update, and train on where the network has a newer model."""
        base = state.base_of(event.base_height)
        if work is not None and base is not None:
            header = self._hand.sign_update(event, base.root, CODECS.index(state.genesis.params.codec))
            if header is not None and self._may_count(state, header):
                self._publish(work, header, now_ms)
        self._end(event.base_height, state, work)

    def take_failed(self, event: TrainingFailed, state: ChainState, work: HeightWork | None) -> None:
        """Say that there is no update, and train on where the network has a newer model."""
        if state.base_of(event.base_height) is not None:
            self._outbox.append(Observe(UpdateSkipped(event.base_height + 1, event.reason)))
        self._end(event.base_height, state, work)

    def _may_count(self, state: ChainState, header: UpdateHeader) -> bool:
        is_trainer = self._hand.public in state.trainers
        last = state.ledger.training.last_base(self._hand.public)
        return is_trainer and state.base_of(header.base_height) is not None and header.base_height > last

    def _begin(self, state: ChainState) -> None:
        is_busy = self._under_way is not None and self._under_way >= state.oldest_base
        if self._is_learning and self._hand.public in state.trainers and not is_busy:
            self._under_way = state.height
            self._outbox.append(Train(state.height, state))

    def _end(self, base_height: int, state: ChainState, work: HeightWork | None) -> None:
        if self._under_way == base_height:
            self._under_way = None
            if work is not None and base_height < state.height:
                self._begin(state)

    def words(self, state: ChainState, work: HeightWork | None) -> tuple[ControlMessage, ...]:
        """Return our own words about the next block that have left, for a peer that has missed them."""
        words: list[ControlMessage] = []
        for word in self._hand.words(state.next_height, state.oldest_base):
            if isinstance(word, UpdateHeader) and pledging.are_asked_for(state):
                words.append(self._hand.pledge(word))
                if work is None or word.update_id not in work.pool.known:
                    continue  # Not shown yet.
            words.append(word)
        return tuple(words)

    def _publish(self, work: HeightWork, header: UpdateHeader, now_ms: int) -> None:
        work.publish(header, now_ms)
        self._outbox.append(Observe(UpdateMade(work.height, header.update_id, header.examples)))
