"""One validator: engine and signer's rules of production; network, values and collecting are oracles."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, final

from msgspec import Struct

from p2pfed.consensus import io
from p2pfed.consensus.engine import Engine
from p2pfed.consensus.machine import Step
from p2pfed.consensus.signer import (
    Signable,
    SignAvail,
    SignPrecommit,
    SignPrevote,
    SignProposal,
    SignRecord,
    SignRequest,
    decide,
    decode_record,
    initial_record,
)
from p2pfed.consensus.signer import Signed as SignedRecord
from p2pfed.consensus.timeouts import PRESETS
from p2pfed.errors import PeerFault
from p2pfed.primitives.codec import encode
from p2pfed.sim.cores.oracle import CHAIN_ID, OracleKey
from p2pfed.types.certificate import CommitCert, PolkaCert
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import ProposalMessage, RoundVotes

if TYPE_CHECKING:
    from p2pfed.sim.cores.world import World

PRESET = PRESETS["local"]
EARLY_MAX = 64  # Messages of the next height kept until we get there.


@final
class Ask(Struct, frozen=True):
    """What a core holds of its height: others answer with what it lacks (the digest of production)."""

    height: int
    round: int
    valid_round: int
    rounds: tuple[RoundVotes, ...]


Spoken = ProposalMessage | Prevote | Precommit | PolkaCert | CommitCert
Message = Spoken | Ask
KIND_OF: dict[type, str] = {
    ProposalMessage: "proposal", Prevote: "prevote", Precommit: "precommit", PolkaCert: "polka",
    CommitCert: "commit", Ask: "ask",
}  # fmt: skip


class Heard(Struct, frozen=True):
    """A message on its way, with what every receiver would else work out anew.

    number: Tells two different messages apart in a trace: part of a signature.
    input: What an engine is told; None for a question.
    """

    sender: int
    message: Message
    kind: str
    height: int
    number: int
    input: io.Input | None


class CollectDue(Struct, frozen=True):
    """The oracle of collecting: what was expected is held now."""


class Persist(Struct, frozen=True):
    """The record becomes durable."""

    record: SignRecord


class Send(Struct, frozen=True):
    """A message leaves for everybody."""

    message: Spoken


class Later(Struct, frozen=True):
    """An input comes back after a while, unless this life ends before."""

    delay_ms: int
    input: io.Input


class Store(Struct, frozen=True):
    """A decided value becomes durable."""

    cert: CommitCert


Effect = Persist | Send | Later | Store


class Core:
    """A peer whose effects happen one after the other, so that a crash may fall between any two."""

    def __init__(self, world: World, slot: int, index: int, key: OracleKey) -> None:
        self.world, self.slot, self.index, self.key = world, slot, index, key
        self.is_up = True
        self.life = 0
        self.effects = 0
        self.crashes: dict[int, int] = {}  # Effect number -> ms down.
        self.record = self.disk = initial_record()
        self.commits: list[CommitCert] = []  # On disk: one for each height.
        self.is_done = False  # It has every height: it votes no more, and answers who asks.
        self.early: list[Heard] = []
        self.is_collecting = True
        self._begin_engine()

    @property
    def height(self) -> int:
        return self.engine.height

    def start(self) -> None:
        """Begin a height, or go on with the one that the record remembers."""
        if self.is_done:
            return
        avail = self.record.avail
        if self.engine.current_step is not Step.COLLECT:
            self.is_collecting = False
            self.feed(io.Restarted())
        elif avail is not None and avail.avail.height == self.height:
            self.is_collecting = False
            self.feed(io.CollectEnded())
        else:
            self.is_collecting = True
            self.world.later(self, self.world.draw(5, 60), CollectDue())

    def hear(self, heard: Heard) -> None:
        """Take what another slot sent."""
        if heard.input is None:
            assert isinstance(heard.message, Ask)
            for answer in self._answers(heard.message):
                self.world.send(self, heard.sender, answer)
        elif self.is_done:
            return
        elif heard.height == self.engine.height:
            try:
                self.feed(heard.input)
            except PeerFault as fault:
                self.world.checkers.blamed(self, heard.sender, fault)
        elif heard.height == self.engine.height + 1 and len(self.early) < EARLY_MAX:
            self.early.append(heard)

    def take(self, input_: io.Input | CollectDue) -> None:
        """Take what this life waited for."""
        if not isinstance(input_, CollectDue):
            self.feed(input_)
        elif self.is_collecting:
            outbox: list[Effect] = []
            self._leave_collect(outbox)
            if self._act(outbox):
                self.feed(io.CollectEnded())

    def feed(self, first: io.Input) -> None:
        """Tell the engine, carry its answers out, and go to the next height where this one is decided."""
        outputs = self.engine.step(first)
        if not outputs:
            return
        inputs: list[io.Input] = []
        outbox: list[Effect] = []
        for output in outputs:
            self._carry_out(output, inputs, outbox)
        for input_ in inputs:  # What we say, we hear; it may grow meanwhile.
            for output in self.engine.step(input_):
                self._carry_out(output, inputs, outbox)
        is_alive = self._act(outbox)
        self.world.checkers.after(self)
        if is_alive and len(self.commits) == self.engine.height:
            self._advance()

    def crash(self) -> None:
        """Lose everything that is not on disk."""
        self.is_up = False
        self.life += 1
        self.early = []

    def restart(self) -> None:
        """Come back with the disk alone."""
        self.is_up = True
        self.record = self.disk = decode_record(encode(self.disk))
        self._begin_engine()
        self.start()

    def ask(self) -> Ask:
        """Return what we hold, for others to send what we lack."""
        engine = self.engine
        return Ask(engine.height, max(engine.round, 0), engine.valid_round, engine.digest_rounds())

    # What liars change

    def speak(self, request: SignRequest, outbox: list[Effect]) -> Spoken | None:
        """Sign a vote or proposal and let it leave once it is durable. None where refused."""
        message = self._sign(request, outbox)
        if type(message) is Prevote or type(message) is Precommit:
            self.world.checkers.signed(self, message)
        elif type(message) is ProposalMessage:
            self.world.checkers.signed(self, message.proposal)
        else:
            return None
        outbox.append(Send(message))
        return message

    def say(self, message: Spoken) -> None:
        """Let a message leave."""
        self.world.broadcast(self, message)

    def value(self, round_: int) -> io.LocalValue:
        """Build a value for a round."""
        return io.LocalValue(round_, self.world.new_value(self.height, round_, self.index))

    def _begin_engine(self) -> None:
        height = len(self.commits) + 1
        self.engine = Engine(
            chain_id=CHAIN_ID,
            height=height,
            validators=self.world.validators,
            own_index=self.index,
            preset=PRESET,
            record=self.record if self.record.height == height else None,
            is_signed_by=self.world.signatures.is_signed_by,
        )

    def _advance(self) -> None:
        early, self.early = self.early, []
        self.life += 1  # Waits of the height that is over are void.
        self._begin_engine()
        self.start()
        for heard in early:
            if self.is_up:
                self.hear(heard)

    def _sign(self, request: SignRequest, outbox: list[Effect]) -> Signable | None:
        """Sign by the rules; None where they refuse."""
        signed = decide(self.record, request, self.key, CHAIN_ID)
        if not isinstance(signed, SignedRecord):
            return None
        if signed.is_new:
            self.record = signed.record
            outbox.append(Persist(signed.record))
        return signed.message

    def _leave_collect(self, outbox: list[Effect]) -> None:
        self.is_collecting = False
        self._sign(SignAvail(self.height, 0, self.index, (), 1), outbox)

    def _carry_out(self, output: io.Output, inputs: list[io.Input], outbox: list[Effect]) -> None:
        # Types are compared, the frequent ones first: a `match` over so many would be a tenth of a run.
        world, height, index = self.world, self.engine.height, self.index
        spoken: Spoken | None = None
        if type(output) is io.Schedule:
            delay_ms = world.by_clock_of(self, output.delay_ms)
            outbox.append(Later(delay_ms, io.TimeoutFired(output.kind, output.round)))
        elif type(output) is io.SendPrevote:
            request = SignPrevote(height, output.round, output.value_id, output.valid_round, index)
            spoken = self.speak(request, outbox)
        elif type(output) is io.SendPrecommit:
            spoken = self.speak(
                SignPrecommit(
                    height, output.round, output.value_id, index, output.lock_cert, output.lock_header
                ),
                outbox,
            )
        elif type(output) is io.NewRound:
            world.checkers.round_began(self, output.round)
        elif type(output) is io.PublishPolka or type(output) is io.PublishCommit:
            outbox.append(Send(output.cert))
        elif type(output) is io.NeedValue:
            outbox.append(world.check(self, output.value_id))
        elif type(output) is io.Decided:
            outbox.append(Store(output.cert) if output.is_ready else world.check(self, output.cert.value_id))
        elif type(output) is io.Propose:
            spoken = self.speak(
                SignProposal(output.header, output.round, output.valid_round, index, output.polka), outbox
            )
        elif type(output) is io.GetValue:
            outbox.append(Later(world.draw(1, 30), self.value(output.round)))
        elif type(output) is io.LeaveCollect:
            if self.is_collecting:
                self._leave_collect(outbox)
                inputs.append(io.CollectEnded())
        elif type(output) is io.FoundEvidence:
            world.checkers.accused(self, output.evidence)
        elif type(output) is io.SafetyViolated:
            world.checkers.halted(self, output)
        if spoken is not None:
            inputs.append(input_of(spoken))

    def _act(self, outbox: list[Effect]) -> bool:
        """Carry effects out in order; answer whether we are still alive."""
        for effect in outbox:
            if self.effects in self.crashes:
                self.world.crashed(self, self.crashes.pop(self.effects))
                return False
            self.effects += 1
            if type(effect) is Later:
                self.world.later(self, effect.delay_ms, effect.input)
            elif type(effect) is Send:
                self.say(effect.message)
            elif type(effect) is Persist:
                self.disk = effect.record
            elif type(effect) is Store and len(self.commits) < effect.cert.height:
                self.commits.append(effect.cert)
                self.is_done = len(self.commits) == self.world.schedule.heights
                self.world.decided(self, effect.cert)
        return True

    def _answers(self, theirs: Ask) -> list[Spoken]:
        engine = self.engine
        if theirs.height != engine.height:
            return [*self.commits[theirs.height - 1 : theirs.height]]
        found: list[Spoken | None] = [engine.decided]
        if engine.valid_round > theirs.valid_round:
            found.append(engine.best_polka)
        for held in theirs.rounds:
            if not held.has_proposal:
                found.append(engine.proposal(held.round))
            found.extend(engine.votes_missing(held))
        found.extend(engine.votes_ahead(theirs.round))
        return [message for message in found if message is not None]


def input_of(message: Spoken) -> io.Input:
    """Return what an engine is told of a message."""
    return _INPUT_OF[type(message)](message)


def on_the_way(sender: int, message: Message) -> Heard:
    """Return a message as it travels."""
    if type(message) is Ask:
        number = message.height * 1000 + message.round
        return Heard(sender, message, "ask", message.height, number, None)
    if type(message) is PolkaCert or type(message) is CommitCert:
        height, number = message.height, short(message.signatures[0]) ^ len(message.signatures)
    else:
        signed = message.proposal if type(message) is ProposalMessage else message
        height, number = signed.height, short(signed.signature)
    return Heard(sender, message, KIND_OF[type(message)], height, number, input_of(message))


def short(data: bytes) -> int:
    """Return the first bytes as a number that fits a trace."""
    return int.from_bytes(data[:7], "big")


_INPUT_OF: dict[type[Spoken], Callable[..., io.Input]] = {
    ProposalMessage: io.ProposalReceived, Prevote: io.VoteReceived, Precommit: io.VoteReceived,
    PolkaCert: io.PolkaReceived, CommitCert: io.CommitReceived,
}  # fmt: skip
