"""Byzantine validators, one sin each. They sign with their own key only, and whatever they like."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec.structs import replace

from p2pfed.consensus import io
from p2pfed.consensus.signer import SignPrecommit, SignPrevote, SignRequest
from p2pfed.primitives.keys import SIGNATURE_BYTES
from p2pfed.sim.cores.core import Core, Effect, Send, Spoken
from p2pfed.sim.cores.oracle import CHAIN_ID, OracleKey
from p2pfed.types.block import Header
from p2pfed.types.certificate import CommitCert, PolkaCert
from p2pfed.types.proposal import Proposal
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import ProposalMessage

if TYPE_CHECKING:
    from p2pfed.sim.cores.world import World

_UNSIGNED = bytes(SIGNATURE_BYTES)
S = TypeVar("S", Prevote, Precommit, Proposal)


class Liar(Core):
    """An honest core at heart: its engine follows the network; a sin bends what it says."""

    def sign(self, message: S) -> S:
        """Sign anything with the own key."""
        signed = msgspec.structs.replace(message, signature=self.key.sign(message.digest(CHAIN_ID)))
        self.world.checkers.signed(self, signed)
        return signed

    def prevote(self, round_: int, value_id: bytes | None, valid_round: int) -> Prevote:
        return self.sign(Prevote(self.height, round_, value_id, valid_round, self.index, _UNSIGNED))

    def precommit(self, round_: int, value_id: bytes | None) -> Precommit:
        return self.sign(Precommit(self.height, round_, value_id, self.index, _UNSIGNED))

    def proposal(
        self, round_: int, header: Header, valid_round: int = -1, polka: PolkaCert | None = None
    ) -> ProposalMessage:
        word = Proposal(self.height, round_, header.value_id, valid_round, self.index, _UNSIGNED)
        return ProposalMessage(self.sign(word), header, polka)

    def tell(self, slot: int, message: Spoken, delay_ms: int = 0) -> None:
        """Send to one alone."""
        self.world.send(self, slot, message, delay_ms)

    def is_lucky(self, share: float) -> bool:
        return self.world.random() < share

    def others(self) -> list[int]:
        return [core.slot for core in self.world.cores if core is not self]


class Silent(Liar):
    """Says nothing."""

    def say(self, message: Spoken) -> None:
        pass


class NilVoter(Liar):
    """Votes for nothing, whatever it sees."""

    def speak(self, request: SignRequest, outbox: list[Effect]) -> Spoken | None:
        match request:
            case SignPrevote():
                request = replace(request, value_id=None, valid_round=-1)
            case SignPrecommit():
                request = replace(request, value_id=None, lock_cert=None, lock_header=None)
        return super().speak(request, outbox)


class LateVoter(Liar):
    """Says everything late."""

    def say(self, message: Spoken) -> None:
        self.world.broadcast(self, message, self.world.draw(100, 3_000))


class Equivocator(Liar):
    """Says one thing to some and another to the rest: votes and proposals."""

    def say(self, message: Spoken) -> None:
        double = self._double(message)
        for slot in self.others():
            self.tell(slot, double if double is not None and self.is_lucky(0.5) else message)

    def _double(self, message: Spoken) -> Spoken | None:
        values = [value_id for value_id, header in self.world.headers.items() if header.height == self.height]
        other = values[int(self.world.random() * len(values))] if values and self.is_lucky(0.6) else None
        match message:
            case Prevote():
                return self.prevote(message.round, other, -1)
            case Precommit():
                return self.precommit(message.round, other)
            case ProposalMessage():
                round_ = message.proposal.round
                return self.proposal(round_, self.world.new_value(self.height, round_, self.index))
        return None


class Amnesiac(Liar):
    """Forgets what it is locked on: it votes for whatever is proposed."""

    def speak(self, request: SignRequest, outbox: list[Effect]) -> Spoken | None:
        if isinstance(request, SignPrevote):
            seen = self.engine.proposal(request.round)
            if seen is not None:
                said = seen.proposal
                vote = self.prevote(request.round, said.value_id, said.valid_round)
                outbox.append(Send(vote))
                return vote
        return super().speak(request, outbox)


class Replayer(Liar):
    """Says again what was said long ago, by itself and by others."""

    def __init__(self, world: World, slot: int, index: int, key: OracleKey) -> None:
        self.memory: list[Spoken] = []
        super().__init__(world, slot, index, key)

    def say(self, message: Spoken) -> None:
        super().say(message)
        self.memory.append(message)
        for slot in self.others():
            again = self.memory[int(self.world.random() * len(self.memory))]
            self.tell(slot, again, self.world.draw(0, 500))

    def feed(self, first: io.Input) -> None:
        match first:
            case io.VoteReceived():
                self.memory.append(first.vote)
            case io.PolkaReceived() | io.CommitReceived():
                self.memory.append(first.cert)
            case io.ProposalReceived():
                self.memory.append(first.message)
        super().feed(first)


class Forger(Liar):
    """Speaks for others: their index with signatures that are not theirs, certificates of nobody."""

    def say(self, message: Spoken) -> None:
        super().say(message)
        victim = int(self.world.random() * self.world.schedule.peers)
        round_ = max(self.engine.round, 0)
        match message:
            case Prevote() | Precommit():
                lie: Spoken = msgspec.structs.replace(message, validator_index=victim)
            case ProposalMessage():
                word = msgspec.structs.replace(message.proposal, signature=self.key.sign(bytes(32)))
                lie = msgspec.structs.replace(message, proposal=word)
            case PolkaCert():
                lie = msgspec.structs.replace(message, round=round_ + 1)
            case CommitCert():
                lie = msgspec.structs.replace(message, value_id=bytes(32))
        for slot in self.others():
            self.tell(slot, lie)


class Mutator(Liar):
    """Changes one field of what it says: off by one, an older value, another signature."""

    def say(self, message: Spoken) -> None:
        for slot in self.others():
            self.tell(slot, self._mutated(message) if self.is_lucky(0.5) else message)

    def _mutated(self, message: Spoken) -> Spoken:
        if isinstance(message, ProposalMessage):
            if self.is_lucky(0.3):
                header = msgspec.structs.replace(message.header, time_ms=message.header.time_ms + 1)
                return msgspec.structs.replace(message, header=header)
            if self.is_lucky(0.3):
                return msgspec.structs.replace(message, polka=self.engine.best_polka)
            return msgspec.structs.replace(message, proposal=self._bent(message.proposal))
        if isinstance(message, Prevote):
            return self._bent(message)
        if isinstance(message, Precommit):
            return self._bent(message)
        round_ = max(0, message.round + (1 if self.is_lucky(0.5) else -1))
        return msgspec.structs.replace(message, round=round_)

    def _bent(self, message: S) -> S:
        names = [name for name in message.__struct_fields__ if name != "signature"]
        name = names[int(self.world.random() * len(names))]
        value = getattr(message, name)
        older = next(iter(self.world.headers), bytes(32))
        changed = (
            older
            if isinstance(value, bytes) or value is None
            else value + (-1) ** int(2 * self.world.random())
        )
        if name == "valid_round":
            changed = max(-1, changed)
        elif isinstance(changed, int):
            changed = max(0, changed)
        bent = msgspec.structs.replace(message, **{name: changed})
        # The key signs it anew, or the old signature stays beside it. It never signs as somebody else.
        return self.sign(bent) if bent.validator_index == self.index and self.is_lucky(0.7) else bent


class Withholder(Liar):
    """Keeps every certificate to itself: re-proposals come without their polka."""

    def say(self, message: Spoken) -> None:
        if isinstance(message, ProposalMessage):
            message = msgspec.structs.replace(message, polka=None)
        if not isinstance(message, PolkaCert | CommitCert):
            self.world.broadcast(self, message)


class WrongAggregate(Liar):
    """Proposes what every check refuses, and votes for it."""

    def value(self, round_: int) -> io.LocalValue:
        header = self.world.new_value(self.height, round_, self.index, is_valid=False)
        return io.LocalValue(round_, header)


class Twin(Liar):
    """A key that runs twice. Each of the two is honest; together they are not."""


SINS: dict[str, type[Liar]] = {
    "silent": Silent, "nil_voter": NilVoter, "late_voter": LateVoter, "equivocator": Equivocator,
    "amnesiac": Amnesiac, "replayer": Replayer, "forger": Forger, "mutator": Mutator,
    "withholder": Withholder, "wrong_aggregate": WrongAggregate, "twins": Twin,
}  # fmt: skip
