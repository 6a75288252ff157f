"""What one peer keeps from height to height."""

from __future__ import annotations

from collections import deque
from collections.abc import Set

from msgspec import Struct, field

from p2pfed.consensus.timeouts import COLLECT_TIMES_MAX, Preset
from p2pfed.node.checks import Checks
from p2pfed.node.effects import Effect
from p2pfed.node.evidence_pool import EvidencePool
from p2pfed.node.fetch_rate import FetchRate
from p2pfed.node.neighbours import Neighbours
from p2pfed.node.quality_pool import QualityPool
from p2pfed.node.signing import SigningHand
from p2pfed.node.silence import Place
from p2pfed.node.transaction_pool import TransactionPool


class Shared(Struct):
    """What outlives a height and belongs to one peer."""

    preset: Preset
    hand: SigningHand
    neighbours: Neighbours
    outbox: list[Effect]
    evidence: EvidencePool
    checks: Checks
    transactions: TransactionPool = field(default_factory=TransactionPool)
    qualities: QualityPool = field(default_factory=QualityPool)
    collect_times_ms: deque[int] = field(default_factory=lambda: deque(maxlen=COLLECT_TIMES_MAX))
    pledge_times_ms: deque[int] = field(default_factory=lambda: deque(maxlen=COLLECT_TIMES_MAX))
    rate: FetchRate = field(default_factory=FetchRate)
    listening: set[bytes] = field(default_factory=set)  # Peers that say so: they train for no height (R6).
    silent: dict[bytes, Place] = field(default_factory=dict)  # Members: where that was noticed (silence.py).
    empty_run: int = 0  # How many heights in a row, up to the last one, brought no new model.
    train_index: int = -1

    def settled(self, train_index: int) -> None:
        """Note a final block: `train_index` of the state after it, which grows with each new model."""
        self.empty_run = self.empty_run + 1 if train_index == self.train_index else 0
        self.train_index = train_index

    @property
    def idle(self) -> Set[bytes]:
        """Peers whose update nobody waits for now: they listen, or fell silent."""
        return self.listening | self.silent.keys() if self.silent else self.listening

    @property
    def collect_ms(self) -> int:
        """How long the next height collects updates."""
        return self.preset.collect_ms(tuple(self.collect_times_ms), self.empty_run)

    @property
    def pledge_ms(self) -> int:
        """How long the next height collects pledges, where there are any."""
        return self.preset.collect_ms(tuple(self.pledge_times_ms), self.empty_run)
