"""Proofs of lies that wait for a block: verified, one for each culprit and kind, bounded."""

from __future__ import annotations

from p2pfed.chain.evidence import accusation_of, conviction_of, is_timely
from p2pfed.chain.state import ChainState
from p2pfed.errors import InvalidTransaction
from p2pfed.ledger.execute import execute_convictions
from p2pfed.ledger.module import Convict
from p2pfed.ledger.modules.slashing import kind_of
from p2pfed.node.effects import Effect, Observe
from p2pfed.node.facts import EvidenceFound
from p2pfed.types.evidence import Evidence
from p2pfed.types.params import EVIDENCE_PER_BLOCK_MAX

# One lie needs one proof. A block takes at most 32 of them, so more only wait; 17 KiB each at most.
EVIDENCE_POOL_MAX = 256


class EvidencePool:
    """The proofs that the next blocks may carry; what is found is told to `outbox`."""

    def __init__(self, outbox: list[Effect]) -> None:
        self._outbox = outbox
        self._kept: dict[tuple[bytes, int], Evidence] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, state: ChainState, evidence: Evidence) -> bool:
        """Verify and keep a proof; False where it is too old, or its culprit is accused or convicted of this.

        The cheap questions come first: a proof that would change nothing costs no signature.

        Raises:
            PeerFault: It proves nothing.
        """
        if not is_timely(state, evidence):
            return False  # Of a height that we have not reached, or one that nobody remembers: no fault.
        accusation = accusation_of(state, evidence)
        name = (accusation.culprit, kind_of(accusation.offence))
        if name in self._kept or len(self._kept) >= EVIDENCE_POOL_MAX or not _counts(state, accusation):
            return False
        conviction_of(state, evidence)
        self._kept[name] = evidence
        found = EvidenceFound(evidence.height, accusation.culprit, type(evidence).__name__)
        self._outbox.append(Observe(found))
        return True

    def select(self) -> tuple[Evidence, ...]:
        """Return what the next block may take, what was found first before the rest."""
        return tuple(self._kept.values())[:EVIDENCE_PER_BLOCK_MAX]

    def prune(self, state: ChainState) -> None:
        """Forget what the block after `state` may not carry any more: convicted by now, or too old."""
        for name, evidence in tuple(self._kept.items()):
            if not is_timely(state, evidence) or not _counts(state, accusation_of(state, evidence)):
                del self._kept[name]


def _counts(state: ChainState, accusation: Convict) -> bool:
    """Answer whether the ledger would convict."""
    try:
        execute_convictions(state.ledger, [accusation], state.trial_context)
    except InvalidTransaction:
        return False
    return True
