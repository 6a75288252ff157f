"""Sees all that happens in a run, holds every law against it, and convicts whoever can be."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from p2pfed.chain.state import ChainState, genesis_state
from p2pfed.errors import PeerFault
from p2pfed.node.facts import BROKEN, EvidenceFound, Fact, PeerBlamed, UpdateRefused
from p2pfed.node.height_messages import HeightMessage, height_of
from p2pfed.sim.chain_checkers import ChainCheckers
from p2pfed.sim.checkers import Checkers
from p2pfed.sim.earnings import scores_in
from p2pfed.sim.expect import Came, disappointments
from p2pfed.sim.scenario import Scenario
from p2pfed.sim.signatures import Signatures
from p2pfed.types.availability import AvailMessage
from p2pfed.types.block import Block
from p2pfed.types.model import ModelState
from p2pfed.types.validators import ValidatorSet
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import ControlMessage, ProposalMessage

if TYPE_CHECKING:
    from p2pfed.sim.peer import SimPeer

Agreement = ProposalMessage | Prevote | Precommit


class Judge:
    """`checkers` and `chain` are the laws; `violations` is what broke one."""

    def __init__(self, scenario: Scenario, peers: list[SimPeer], model: ModelState) -> None:
        genesis = genesis_state(peers[0].genesis, model)
        self._scenario = scenario
        self._peers = peers
        self._founders = genesis.validators
        self._numbers = {peer.public: peer.number for peer in peers}
        honest = {peer.public: peer.number for peer in peers if not peer.byzantine}
        struck = frozenset(peers[number].public for number in scenario.faulty)
        self._blameless = frozenset(honest) - struck
        self.checkers = Checkers(honest, struck=struck, is_safe=scenario.is_safe)
        self.violations = self.checkers.violations
        self.chain = ChainCheckers(genesis, self._blameless, self._payload, self.violations.append)
        # What the honest sign; where so many lie that forks are possible, all that the honest hear.
        self._hears_all = not scenario.is_safe
        self._signatures = Signatures(genesis.chain_id)
        self._scores: dict[int, Counter[bytes]] = {}  # Height -> what the updates in its block scored.
        self._older: dict[int, int] = {}  # Height -> updates in its block that trained from an older model.
        self._returns: set[int] = set()  # Heights whose block goes back to an older model.
        self._refused: set[bytes] = set()
        self._blamed: set[bytes] = set()

    @property
    def older(self) -> int:
        """How many updates in blocks trained from an older model than the last."""
        return sum(self._older.values())

    @property
    def earned(self) -> dict[int, int]:
        """What the updates of each member scored, over all blocks."""
        total = sum(self._scores.values(), Counter[bytes]())
        return {self._numbers[key]: score for key, score in sorted(total.items())}

    def hears(self, peer: SimPeer, message: ControlMessage) -> None:
        """An honest peer heard something: of a fork it may be the proof."""
        if self._hears_all and not peer.byzantine:
            self._keep(peer, message)

    def speaks(self, peer: SimPeer, message: ControlMessage) -> None:
        if peer.byzantine:
            return
        self.checkers.speaks(peer.public, message, peer.node.state, peer.disk)
        validators = _validators(peer, message)
        if validators is None or peer.public not in self._blameless:
            return
        if isinstance(message, AvailMessage):
            if validators.index_of(peer.public) == message.avail.validator_index:
                self.chain.said(peer.public, message)
        elif isinstance(message, Agreement):
            said = message.proposal if isinstance(message, ProposalMessage) else message
            if validators.index_of(peer.public) == said.validator_index:
                self._signatures.add(message, validators)

    def stored(self, peer: SimPeer, block: Block, state: ChainState) -> None:
        if peer.byzantine:
            return
        self.checkers.stored(peer.public, block, state)
        self.chain.stored(block, state)
        bases = [update.base_height for update in block.body.updates if not block.header.is_empty]
        self._older[block.header.height] = sum(base < block.header.height - 1 for base in bases)
        self._scores[block.header.height] = scores_in(block)
        if block.header.model_parent < block.header.height - 1:
            self._returns.add(block.header.height)
        self.checkers.bounds(peer)
        if self._hears_all:
            self._keep(peer, block.commit)

    def blamed(self, peer: SimPeer, culprit: bytes, fault: PeerFault) -> None:
        if not peer.byzantine:
            self.checkers.blamed(peer.public, culprit, fault)

    def found(self, peer: SimPeer, problem: str) -> None:
        """Note what is wrong with a peer's log; an empty text: nothing."""
        if problem and peer.public in self._blameless:
            self.checkers.broke(peer.public, problem)

    def halted(self, peer: SimPeer, reason: str) -> None:
        if not peer.byzantine:
            self.checkers.halted(peer.public, reason)

    def observed(self, peer: SimPeer, fact: Fact) -> None:
        if peer.byzantine:
            return
        if isinstance(fact, EvidenceFound):
            self.checkers.accused(peer.public, fact.culprit, fact.kind)
        elif isinstance(fact, UpdateRefused) and fact.reason == BROKEN:
            self._refused.add(fact.trainer)
        elif isinstance(fact, PeerBlamed):
            self._blamed.add(fact.peer)

    def convict(self) -> int | None:
        """After a run: nobody honest can be convicted, and of a fork a third or more can.

        Return the least power that a fork convicts of E1 or E2, None where there was none.
        """
        accused: int | None = None
        for height in self._signatures.heights:
            for key in self._signatures.convicted(height):
                if key in self._blameless:
                    self._fail(f"peer {self._numbers[key]} is honest and can be convicted at {height}")
        for height in sorted(self.checkers.forks):
            power, total = (
                self._signatures.convicting_power(height, self._founders),
                self._founders.total_power,
            )
            accused = power if accused is None else min(accused, power)
            if 3 * power < total:
                self._fail(f"the fork at height {height} convicts {power} of {total}")
        return accused

    def compare(self, state: ChainState, accuracy: float) -> None:
        """Hold what came of the run against what the scenario expects, unless it ended before its time.

        accuracy: Of the model of `state`, the newest of an honest peer.
        """
        if self.violations or self.checkers.forks:
            return
        came = Came(
            blocks=state.height - state.genesis.height,
            accuracy=accuracy,
            convicted=self._members({entry.key for entry in state.ledger.slashing.convictions}),
            refused=self._members(self._refused),
            blamed=self._members(self._blamed),
            earned=self.earned,
            returns=len(self._returns),
            older=self.older,
        )
        self.violations.extend(disappointments(self._scenario, came))

    def _members(self, keys: set[bytes]) -> set[int]:
        return {self._numbers[key] for key in keys}

    def _keep(self, peer: SimPeer, message: ControlMessage) -> None:
        validators = _validators(peer, message)
        if validators is not None:
            self._signatures.add(message, validators)

    def _payload(self, root: bytes) -> bytes | None:
        return next((data for peer in self._peers if (data := peer.disk.blob(root)) is not None), None)

    def _fail(self, text: str) -> None:
        self.violations.append(text)


def _validators(peer: SimPeer, message: ControlMessage) -> ValidatorSet | None:
    """Return who votes at the height of a message, by the peer's own chain."""
    if not isinstance(message, HeightMessage):
        return None
    height = height_of(message)
    state = peer.node.state
    return state.validators_at(height) if 0 < height <= state.height + 2 else None
