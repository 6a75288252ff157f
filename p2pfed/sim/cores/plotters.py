"""Liars that plot for a fork: they look into every honest core and tell each what parts it from the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from p2pfed.consensus.engine import Engine
from p2pfed.consensus.signer import SignPrevote, SignRequest
from p2pfed.primitives.keys import SIGNATURE_BYTES
from p2pfed.sim.cores.core import Ask, Core, Effect, Heard, Spoken
from p2pfed.sim.cores.liars import SINS, Liar
from p2pfed.sim.cores.oracle import OracleKey
from p2pfed.types.proposal import Proposal
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import ProposalMessage

if TYPE_CHECKING:
    from p2pfed.sim.cores.kinds import LiarKind
    from p2pfed.sim.cores.world import World

_UNSIGNED = bytes(SIGNATURE_BYTES)
Words = tuple[int, int, bytes | None, int]  # Height, round, value, valid round.


class Splitter(Liar):
    """Backs before each honest core what that one sees, in every round: it votes twice at one place (E1)."""

    def __init__(self, world: World, slot: int, index: int, key: OracleKey) -> None:
        self.told: set[tuple[int, Words]] = set()
        self.proposed: dict[tuple[int, int, int], ProposalMessage] = {}
        super().__init__(world, slot, index, key)

    def say(self, message: Spoken) -> None:
        """Its honest heart follows the network and is silent."""

    def _answers(self, theirs: Ask) -> list[Spoken]:  # noqa: ARG002 - a core's signature
        """What one group knows is kept from the other."""
        return []

    def hear(self, heard: Heard) -> None:
        super().hear(heard)
        self._plot()

    def take(self, input_: object) -> None:
        super().take(input_)  # type: ignore[arg-type]
        self._plot()

    def _plot(self) -> None:
        for victim in self.world.honest:
            if victim.is_up and victim.engine.round >= 0 and victim.engine.decided is None:
                self._treat(victim, victim.engine)

    def _treat(self, victim: Core, engine: Engine) -> None:
        self._propose(victim, engine, victim.slot)
        self._back(victim, engine)

    def _propose(self, victim: Core, engine: Engine, group: int) -> None:
        """At its turn: a value of its own for each group."""
        height, round_ = engine.height, engine.round
        if engine.proposer(round_) != self.index or engine.proposal(round_) is not None:
            return
        message = self.proposed.get((height, round_, group))
        if message is None:
            header = self.world.new_value(height, round_, self.index)
            word = Proposal(height, round_, header.value_id, -1, self.index, _UNSIGNED)
            message = ProposalMessage(self.sign(word), header, None)
            self.proposed[height, round_, group] = message
            self.told.add((victim.slot, (height, round_, header.value_id, -2)))
            self.tell(victim.slot, message)
        elif (victim.slot, (height, round_, message.proposal.value_id, -2)) not in self.told:
            self.told.add((victim.slot, (height, round_, message.proposal.value_id, -2)))
            self.tell(victim.slot, message)

    def _back(self, victim: Core, engine: Engine) -> None:
        """Vote for what a core has before it."""
        seen = engine.proposal(engine.round)
        if seen is not None:
            said = seen.proposal
            self._vote(victim, (engine.height, engine.round, said.value_id, said.valid_round))

    def _vote(self, victim: Core, words: Words) -> None:
        """Prevote and precommit before one core, once."""
        if (victim.slot, words) in self.told:
            return
        self.told.add((victim.slot, words))
        height, round_, value_id, valid_round = words
        prevote = Prevote(height, round_, value_id, valid_round, self.index, _UNSIGNED)
        self.tell(victim.slot, self.sign(prevote))
        self.tell(victim.slot, self.sign(Precommit(height, round_, value_id, self.index, _UNSIGNED)))


class Turncoat(Splitter):
    """Never votes twice at one place. It backs one group in one round, another group two rounds later (E2).

    Rounds between the two have no group: nil votes there lift a core that waits in a round of the others.
    """

    def __init__(self, world: World, slot: int, index: int, key: OracleKey) -> None:
        self.words: dict[tuple[int, int], Words] = {}  # What it said in each height and round.
        bridges = [fault.peers for fault in world.schedule.faults if fault.kind == "bridge"]
        self.first_group = bridges[0][: bridges[0].index(-1)] if bridges else (0, 1)
        super().__init__(world, slot, index, key)

    def _treat(self, victim: Core, engine: Engine) -> None:
        turn = (engine.round + engine.height + self.world.schedule.seed) % 4
        group = 0 if victim.index in self.first_group else 2
        if turn == group:
            self._propose(victim, engine, group)
            self._back(victim, engine)
        else:
            self._vote(victim, (engine.height, engine.round + (turn % 2 == 0), None, -1))

    def _vote(self, victim: Core, words: Words) -> None:
        if self.words.setdefault(words[:2], words) == words:
            super()._vote(victim, words)


class Hider(Liar):
    """Votes nil until a core is locked, and then for what is proposed: a lock that few know is overtaken.

    The honest alone are a quorum. With a vote for nil the others can give up a round whose polka they miss,
    and with a vote for the next value they need no vote of whoever is locked.
    """

    def speak(self, request: SignRequest, outbox: list[Effect]) -> Spoken | None:
        if isinstance(request, SignPrevote):
            value_id, valid_round = self._wanted(request.round)
            request = replace(request, value_id=value_id, valid_round=valid_round)
        return super().speak(request, outbox)

    def _wanted(self, round_: int) -> tuple[bytes | None, int]:
        rivals = [one.engine for one in self.world.honest if one.height == self.height]
        seen = self.engine.proposal(round_)
        if seen is None or all(engine.locked_round < 0 for engine in rivals):
            return None, -1
        return seen.proposal.value_id, seen.proposal.valid_round


def crew(world: World, index: int, key: OracleKey, kind: LiarKind) -> Liar:
    """Return the liar of a kind."""
    plotters: dict[str, type[Liar]] = {"splitter": Splitter, "turncoat": Turncoat, "hider": Hider}
    return {**SINS, **plotters}[kind](world, index, index, key)
