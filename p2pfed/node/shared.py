"""What one peer keeps from height to height."""

from __future__ import annotations

from collections import deque

from msgspec import Struct, field

from p2pfed.consensus.timeouts import COLLECT_TIMES_MAX, Preset
from p2pfed.node.checks import Checks
from p2pfed.node.effects import Effect
from p2pfed.node.evidence_pool import EvidencePool
from p2pfed.node.fetch_rate import FetchRate
from p2pfed.node.neighbours import Neighbours
from p2pfed.node.signing import SigningHand
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
    collect_times_ms: deque[int] = field(default_factory=lambda: deque(maxlen=COLLECT_TIMES_MAX))
    rate: FetchRate = field(default_factory=FetchRate)
