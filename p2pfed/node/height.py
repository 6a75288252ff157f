"""One height of one peer: collect updates, vote on what is held, agree on a block."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import assert_never

from p2pfed.chain.propose import ProposalInputs, needed_updates
from p2pfed.chain.state import ChainState
from p2pfed.consensus import io
from p2pfed.consensus.engine import Engine
from p2pfed.consensus.journal import Began, Entry, Said, input_of
from p2pfed.consensus.machine import Step
from p2pfed.consensus.replay import Replayed, replay
from p2pfed.consensus.signer import (
    SignPrecommit,
    SignPrevote,
    SignProposal,
    SignRecord,
    SignRequest,
)
from p2pfed.errors import LocalError, OutOfBounds
from p2pfed.node.collecting import Collecting
from p2pfed.node.effects import (
    Append,
    BuildProposal,
    FetchPayload,
    Halt,
    Observe,
    StorePolkas,
    SyncLog,
)
from p2pfed.node.events import BodyFetched, PayloadFetched, ProposalBuilt, ProposalChecked, Timer
from p2pfed.node.facts import (
    BROKEN,
    HeightStarted,
    LeaveReason,
    ProposalRefused,
    RoundStarted,
    UpdateReceived,
    UpdateRefused,
)
from p2pfed.node.shared import Shared
from p2pfed.node.silence import ProposalWaits
from p2pfed.node.update_pool import UpdatePool
from p2pfed.node.values import Values
from p2pfed.types.availability import AvailMessage
from p2pfed.types.certificate import CommitCert, PolkaCert
from p2pfed.types.evidence import Evidence
from p2pfed.types.pledge import Pledge
from p2pfed.types.update import UpdateHeader
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import ProposalMessage


class HeightWork:
    """The work on the block after `state`. It ends when `decided` is set and that value is checked."""

    def __init__(
        self,
        state: ChainState,
        last_commit: CommitCert | None,
        shared: Shared,
        now_ms: int,
        history: Sequence[Entry] = (),
        before: UpdatePool | None = None,
    ) -> None:
        """Begin where `history`, the log of this height, ends; without one, where the signer's record does.

        `before` is the pool of the height that was worked on last: what it holds may still count.

        Raises:
            LocalError, StorageFault: History and record don't go together (consensus.replay).
        """
        self.state = state
        self.height = state.next_height
        self.started_ms = now_ms
        self.decided: CommitCert | None = None
        self.last_commit = last_commit  # Precommits that come late join it.
        self._shared = shared
        self._outbox = shared.outbox
        self.own_index = state.validators.index_of(shared.hand.public)
        self.pool = UpdatePool(state, shared.checks.is_signed_by)
        if before is not None:
            self.pool.carry(before)
        self.values = Values(state, self.pool, shared.outbox, shared.checks.check_body)
        record = shared.hand.record
        self._replayed = replay(self.make_engine, history, record) if history else None
        self._began = Began(self.height, self.own_index, record if record.height == self.height else None)
        self.engine = self._replayed.engine if self._replayed else self.make_engine(self._began.record)
        self.waits = ProposalWaits(self.engine, shared.silent, shared.outbox)
        self.collecting = Collecting(
            state,
            self.pool,
            shared,
            self.own_index,
            lambda: self.engine.proposer(max(self.engine.round, 0)),
            is_open=self.engine.current_step is Step.COLLECT,
        )
        shared.rate.forget()
        self._wanted_round: int | None = None  # GetValue is open for it.

    def start(self, now_ms: int) -> None:
        """Begin the height: resume what the signer's record remembers, then wait for updates."""
        expected = len(self.collecting.clock.expected)
        self._outbox.append(Observe(HeightStarted(self.height, len(self.state.validators), expected)))
        for header in self.pool.unserved():  # Carried over: its payload is still on the way.
            if self.pool.is_due(header):
                self._outbox.append(FetchPayload(header, self.pool.holders_of(header)))
        own_avail = self._shared.hand.record.avail
        if own_avail is not None and own_avail.avail.height == self.height:
            self.pool.add_avail(own_avail)
            self._shared.neighbours.push(own_avail)
        if self._replayed is not None:
            self._go_on(self._replayed, now_ms)
        else:
            self._outbox.append(Append(self._began))
        if self._replayed is None and not self.collecting.is_open:
            self._feed(io.Restarted(), now_ms)
        elif self.collecting.is_open and own_avail is not None and own_avail.avail.height == self.height:
            self._end_collect("restart", now_ms)
        if not self.collecting.is_open:
            self.collecting.show(now_ms)  # The rounds have begun before we came back.
        self.refresh(now_ms)

    # What peers send. Each raises PeerFault where the sender is to blame; True: worth passing on.

    def take_update(self, header: UpdateHeader, now_ms: int) -> bool:
        try:
            is_new = self.pool.add_header(header)
        finally:  # Also where the header is refused: its form may be the lie.
            self._publish_lies()
        if not is_new:
            return False
        self.waits.hear_of(header.trainer, (header.base_height + 1, -1))
        is_due = self.pool.is_due(header)
        if is_due:
            self.collecting.fetch(header, now_ms)
        self.refresh(now_ms)
        return is_due or (self.pool.pledges is not None and self.pool.pledges.is_open)

    def take_pledge(self, pledge: Pledge, now_ms: int) -> bool:
        pledges = self.pool.pledges
        if pledges is None:
            raise OutOfBounds("a pledge in a network that pays nothing")
        if not pledges.add(pledge) or not pledges.is_open:
            return False
        header = self.pool.known.get(pledge.update_id)
        if header is not None and not self.pool.is_settled(header.update_id):
            self.collecting.fetch(header, now_ms)  # It was shown before we heard of the pledge.
        self.refresh(now_ms)
        return True

    def publish(self, header: UpdateHeader, now_ms: int) -> None:
        """Tell everybody of our own update; where work is paid, at first only that there is one."""
        if self.pool.pledges is None:
            self._shared.neighbours.push(header)
            self.take_update(header, now_ms)
            return
        pledge = self._shared.hand.pledge(header)
        self.collecting.own = header
        self._shared.neighbours.push(pledge)
        self.take_pledge(pledge, now_ms)

    def take_avail(self, message: AvailMessage, now_ms: int) -> bool:
        is_new = self.pool.add_avail(message)
        self._publish_lies()
        if not is_new:
            return False
        self.waits.hear(message.avail.validator_index, -1)
        for body in self.values.bodies():
            self.pool.compare_avails(body, message.avail.validator_index)
        self._publish_lies()
        for header in self.pool.unserved():
            if header.update_id in message.update_ids:
                self._outbox.append(FetchPayload(header, self.pool.holders_of(header)))
        if not self.collecting.is_open:
            self.collecting.share_headers(message)
        self.refresh(now_ms)
        return True

    def take_proposal(self, message: ProposalMessage, now_ms: int) -> bool:
        self._take(io.ProposalReceived(message), now_ms)
        self.waits.hear(message.proposal.validator_index, message.proposal.round)
        return True

    def take_vote(self, vote: Prevote | Precommit, now_ms: int) -> bool:
        self._take(io.VoteReceived(vote), now_ms)
        self.waits.hear(vote.validator_index, vote.round)
        return True

    def take_polka(self, cert: PolkaCert, now_ms: int) -> bool:
        return self._take(io.PolkaReceived(cert), now_ms)

    def take_commit(self, cert: CommitCert, now_ms: int) -> bool:
        return self._take(io.CommitReceived(cert), now_ms)

    # Answers to effects

    def take_payload(self, event: PayloadFetched, now_ms: int) -> None:
        header = self.pool.known.get(event.update_id)
        if header is None or self.pool.is_settled(event.update_id):
            return
        self.pool.settle(event.update_id, is_valid=event.is_valid)
        if event.is_valid:
            self._shared.rate.came(event.update_id, header.payload_bytes, now_ms)
            self._outbox.append(Observe(UpdateReceived(self.height, header.trainer, event.update_id)))
        else:
            self._outbox.append(Observe(UpdateRefused(self.height, header.trainer, BROKEN)))
            if event.proof is not None:
                self._publish_evidence(event.proof)
        self.values.progress()
        self.refresh(now_ms)

    def take_body(self, event: BodyFetched, now_ms: int) -> None:
        refusal = self.values.add_body(event.header, event.body, self.last_commit)
        if refusal is not None:
            self._refuse(event.header.value_id, refusal, now_ms)
        else:
            self.pool.compare_avails(event.body)
        self._publish_lies()
        self.refresh(now_ms)

    def take_built(self, event: ProposalBuilt, now_ms: int) -> None:
        if event.height != self.height:
            return
        self.values.add_own(event.header, event.body, event.state)
        self._feed(io.LocalValue(event.round, event.header), now_ms)
        self._feed(io.ValueReady(event.header.value_id, is_valid=True), now_ms)
        self.refresh(now_ms)

    def take_checked(self, event: ProposalChecked, now_ms: int) -> None:
        if not self.values.settle(event.value_id, event.state, event.refusal):
            return
        if event.state is None and self.engine.verdict(event.value_id):
            # The log says that it was found valid, and that stands; but this check can't be trusted.
            self._outbox.append(Halt(self._contradiction(event.value_id, event.refusal), 7))
        elif event.state is None:
            self._refuse(event.value_id, event.refusal, now_ms)
        else:
            self._feed(io.ValueReady(event.value_id, is_valid=True), now_ms)
        self.refresh(now_ms)

    def take_timer(self, timer: Timer, now_ms: int) -> None:
        match timer.kind:
            case "collect":
                self.collecting.woke()
            case "propose" | "prevote" | "precommit":
                if timer.kind == "propose":
                    if self.waits.goes_on(timer):
                        return
                    self._tell_what_is_missing(timer.round, now_ms)
                self._feed(io.TimeoutFired(timer.kind, timer.round), now_ms)
            case _:
                return
        self.refresh(now_ms)

    # The steps of the height

    def refresh(self, now_ms: int) -> None:
        """Do whatever has become possible: end the collecting, build the block that is wanted."""
        if self.collecting.is_open:
            reason = self.collecting.check(now_ms)
            if reason is not None:
                self._end_collect(reason, now_ms)
        if self._wanted_round is not None:
            self._try_build(self._wanted_round)

    def _end_collect(self, reason: LeaveReason, now_ms: int) -> None:
        """C1: sign the availability vote and enter the rounds."""
        self.collecting.sign_avail(reason, now_ms)
        self._feed(io.CollectEnded(), now_ms)

    def _try_build(self, round_: int) -> None:
        """C2: build the block once availability votes of a quorum and everything they call for are here."""
        if not self.pool.has_avail_quorum():
            return
        inputs = ProposalInputs(
            proposer=self._shared.hand.public,
            avails=tuple(self.pool.avails[index] for index in sorted(self.pool.avails)),
            headers=tuple(self.pool.known.values()),
            transactions=self._shared.transactions.select(self.state),
            evidence=self._shared.evidence.select(),
            last_commit=self.last_commit,
            qualities=self._shared.qualities.select(self.state.height),
        )
        try:
            needed = needed_updates(self.state, inputs, round_)
        except LocalError:
            return  # A header that more than a third of the stake holds is on its way to us.
        if any(update.update_id not in self.pool.held for update in needed):
            return
        self._wanted_round = None
        self._outbox.append(BuildProposal(round_, self.state, inputs))

    def _take(self, received: io.Input, now_ms: int) -> bool:
        self._feed(received, now_ms)
        self.refresh(now_ms)
        return True

    def make_engine(self, record: SignRecord | None) -> Engine:
        """Return a new engine of this height, from a record of it (W6) or from nothing (C0)."""
        state = self.state
        return Engine(
            chain_id=state.chain_id,
            height=self.height,
            validators=state.validators,
            own_index=self.own_index,
            preset=self._shared.preset,
            record=record,
            is_signed_by=self._shared.checks.is_signed_by,
        )

    def _tell_what_is_missing(self, round_: int, now_ms: int) -> None:
        """T1: the data of a proposed block may need longer than the proposal was waited for."""
        message = self.engine.proposal(round_)
        if message is not None and self.engine.verdict(message.proposal.value_id) is None:
            value_id, rate = message.proposal.value_id, self._shared.rate.bytes_per_second
            self._feed(io.ValuePending(value_id, self.values.missing_bytes(value_id), rate), now_ms)

    def _go_on(self, replayed: Replayed, now_ms: int) -> None:
        """W4, W6: the engine is where it was; say again what it said, ask again what was not answered."""
        inputs: deque[io.Input | Said] = deque()
        for output in (*replayed.kept, *self.engine.again(replayed.words)):
            inputs.extend(self._carry_out(output, now_ms))
        self._take_in(inputs, now_ms)

    def _feed(self, first: io.Input, now_ms: int) -> None:
        """Tell the engine something and carry out its answers; what we sign comes back as received."""
        self._take_in(deque([first]), now_ms)

    def _take_in(self, inputs: deque[io.Input | Said], now_ms: int) -> None:
        while inputs:
            entry, mark = inputs.popleft(), self.engine.mark
            outputs = self.engine.step(input_of(entry.message) if isinstance(entry, Said) else entry)
            if outputs or self.engine.mark != mark:
                self._outbox.append(Append(entry))  # W1. What moves nothing would only fill the log.
            for output in outputs:
                inputs.extend(self._carry_out(output, now_ms))

    def _carry_out(self, output: io.Output, now_ms: int) -> tuple[io.Input | Said, ...]:
        neighbours = self._shared.neighbours
        match output:
            case io.NewRound():
                self._wanted_round = None
                proposer = self.state.validators.validators[self.engine.proposer(output.round)].key
                self._outbox.append(Observe(RoundStarted(self.height, output.round, proposer)))
                if self.engine.polkas:
                    # The record keeps one lock's polka; the chain of them must survive the next lock too.
                    self._outbox.append(StorePolkas(self.engine.polkas))
            case io.LeaveCollect():
                if self.collecting.is_open:
                    self.collecting.sign_avail("round", now_ms)
                    return (io.CollectEnded(),)
            case io.GetValue():
                self._wanted_round = output.round
            case io.NeedValue():
                self.values.want(output.value_id, output.header, neighbours.table.connected_peers())
            case io.Propose() | io.SendPrevote() | io.SendPrecommit():
                return self._speak(output)
            case io.Schedule():
                self.waits.schedule(output)
            case io.PublishPolka() | io.PublishCommit():
                neighbours.push(output.cert)
            case io.Decided():
                self.decided = output.cert
                self.waits.close()
            case io.SafetyViolated():
                self._outbox.append(StorePolkas(self.engine.polkas))  # An audit will ask for them.
                self._outbox.append(Halt(self._violation(output), 7))
            case io.FoundEvidence():
                self._publish_evidence(output.evidence)
            case _:
                assert_never(output)
        return ()

    def _speak(self, output: io.Propose | io.SendPrevote | io.SendPrecommit) -> tuple[Said, ...]:
        """Sign, push, and return the message as an input; nothing where the signer refuses.

        W2: the record is durable, then the log, then it leaves.
        """
        assert self.own_index is not None
        request: SignRequest
        match output:
            case io.Propose():
                request = SignProposal(
                    output.header, output.round, output.valid_round, self.own_index, output.polka
                )
            case io.SendPrevote():
                request = SignPrevote(
                    self.height, output.round, output.value_id, output.valid_round, self.own_index
                )
            case io.SendPrecommit():
                request = SignPrecommit(
                    self.height,
                    output.round,
                    output.value_id,
                    self.own_index,
                    output.lock_cert,
                    output.lock_header,
                )
        message = self._shared.hand.sign(request)
        if message is None:
            return ()
        assert isinstance(message, ProposalMessage | Prevote | Precommit)
        self._outbox.append(SyncLog())
        self._shared.neighbours.push(message)
        return (Said(message),)

    def _refuse(self, value_id: bytes, refusal: str, now_ms: int) -> None:
        value = self.values.get(value_id)
        assert value is not None
        self._outbox.append(Observe(ProposalRefused(self.height, value.header.proposer, refusal)))
        self._feed(io.ValueReady(value_id, is_valid=False), now_ms)

    def _publish_evidence(self, evidence: Evidence) -> None:
        if self._shared.evidence.add(self.state, evidence):
            self._shared.neighbours.push(evidence)

    def _publish_lies(self) -> None:
        """Publish what the pool has found in updates and availability votes."""
        while self.pool.lies:
            self._publish_evidence(self.pool.lies.pop())

    def _contradiction(self, value_id: bytes, refusal: str) -> str:
        return (
            f"our check found block {value_id.hex()[:12]} of height {self.height} valid before the restart "
            f"and refuses it now: {refusal}"
        )

    def _violation(self, output: io.SafetyViolated) -> str:
        if output.other is not None:
            first, second = output.cert.value_id.hex()[:12], output.other.value_id.hex()[:12]
            return f"two blocks are decided at height {self.height}: {first} and {second}"
        value = self.values.get(output.cert.value_id)
        refusal = value.refusal if value is not None else "invalid"
        return f"local check disagrees with more than 2/3 at height {self.height}: {refusal}"
