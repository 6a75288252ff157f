"""One validator: engine and signer's rules of production; network, values and collecting are oracles."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from msgspec import Struct

from p2pfed.consensus import io
from p2pfed.consensus.engine import Engine
from p2pfed.consensus.machine import Step
from p2pfed.consensus.signer import (
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
        self.early: list[tuple[int, Spoken]] = []
        self.is_collecting = True
        self._begin_engine()

    @property
    def height(self) -> int:
        return self.engine.height

    def start(self) -> None:
        """Begin a height, or go on with the one that the record remembers."""
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

    def hear(self, sender: int, message: Message) -> None:
        """Take what another slot sent."""
        if type(message) is Ask:
            for answer in self._answers(message):
                self.world.send(self, sender, answer)
            return
        assert not isinstance(message, Ask)
        height = message.proposal.height if isinstance(message, ProposalMessage) else message.height
        if height == self.engine.height:
            try:
                self.feed(_INPUT_OF[type(message)](message))
            except PeerFault as fault:
                self.world.checkers.blamed(self, sender, fault)
        elif height == self.engine.height + 1 and len(self.early) < EARLY_MAX:
            self.early.append((sender, message))

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
        step, outbox = self.engine.step, list[Effect]()
        outputs = step(first)
        if not outputs:
            return
        inputs: deque[io.Input] = deque()
        while True:
            for output in outputs:
                self._carry_out(output, inputs, outbox)
            if not inputs:
                break
            outputs = step(inputs.popleft())
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
        """Sign by the rules; the record is durable before the message leaves. None where refused."""
        signed = decide(self.record, request, self.key, CHAIN_ID)
        if not isinstance(signed, SignedRecord):
            return None
        if signed.is_new:
            self.record = signed.record
            outbox.append(Persist(signed.record))
        message = signed.message
        if isinstance(message, Prevote | Precommit | ProposalMessage):
            word = message.proposal if isinstance(message, ProposalMessage) else message
            self.world.checkers.signed(self, word)
            outbox.append(Send(message))
            return message
        return None

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
        for sender, message in early:
            if self.is_up:
                self.hear(sender, message)

    def _leave_collect(self, outbox: list[Effect]) -> None:
        self.is_collecting = False
        self.speak(SignAvail(self.height, 0, self.index, (), 1), outbox)

    def _carry_out(self, output: io.Output, inputs: deque[io.Input], outbox: list[Effect]) -> None:
        world, height, index = self.world, self.engine.height, self.index
        spoken: Spoken | None = None
        match output:
            case io.SendPrevote():
                spoken = self.speak(
                    SignPrevote(height, output.round, output.value_id, output.valid_round, index), outbox
                )
            case io.SendPrecommit():
                spoken = self.speak(
                    SignPrecommit(
                        height, output.round, output.value_id, index, output.lock_cert, output.lock_header
                    ),
                    outbox,
                )
            case io.Propose():
                spoken = self.speak(
                    SignProposal(output.header, output.round, output.valid_round, index, output.polka), outbox
                )
            case io.Schedule():
                delay_ms = world.by_clock_of(self, output.delay_ms)
                outbox.append(Later(delay_ms, io.TimeoutFired(output.kind, output.round)))
            case io.PublishPolka() | io.PublishCommit():
                outbox.append(Send(output.cert))
            case io.NewRound():
                world.checkers.round_began(self, output.round)
            case io.GetValue():
                outbox.append(Later(world.draw(1, 30), self.value(output.round)))
            case io.NeedValue():
                outbox.append(world.check(self, output.value_id))
            case io.LeaveCollect():
                if self.is_collecting:
                    self._leave_collect(outbox)
                    inputs.append(io.CollectEnded())
            case io.Decided():
                outbox.append(
                    Store(output.cert) if output.is_ready else world.check(self, output.cert.value_id)
                )
            case io.SafetyViolated():
                world.checkers.halted(self, output)
            case io.FoundEvidence():
                world.checkers.accused(self, output.evidence)
        if spoken is not None:
            inputs.append(_INPUT_OF[type(spoken)](spoken))

    def _act(self, outbox: list[Effect]) -> bool:
        """Carry effects out in order; answer whether we are still alive."""
        for effect in outbox:
            if self.effects in self.crashes:
                self.world.crashed(self, self.crashes.pop(self.effects))
                return False
            self.effects += 1
            match effect:
                case Persist():
                    self.disk = effect.record
                case Send():
                    self.say(effect.message)
                case Later():
                    self.world.later(self, effect.delay_ms, effect.input)
                case Store():
                    if len(self.commits) < effect.cert.height:
                        self.commits.append(effect.cert)
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


def _as_proposal(message: Spoken) -> io.Input:
    assert isinstance(message, ProposalMessage)
    return io.ProposalReceived(message)


def _as_vote(message: Spoken) -> io.Input:
    assert isinstance(message, Prevote | Precommit)
    return io.VoteReceived(message)


def _as_polka(message: Spoken) -> io.Input:
    assert isinstance(message, PolkaCert)
    return io.PolkaReceived(message)


def _as_commit(message: Spoken) -> io.Input:
    assert isinstance(message, CommitCert)
    return io.CommitReceived(message)


_INPUT_OF = {
    ProposalMessage: _as_proposal, Prevote: _as_vote, Precommit: _as_vote, PolkaCert: _as_polka,
    CommitCert: _as_commit,
}  # fmt: skip
