"""Agreement on one height: check messages, count them, and offer the facts to the rules until none fires.

Pure and synchronous: `step` returns what to do, in order. A PeerFault from `step` has changed nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

import msgspec

from p2pfed.consensus import machine
from p2pfed.consensus.admission import Admission
from p2pfed.consensus.evidence import claim_of, duplicate_proposal
from p2pfed.consensus.io import (
    CollectEnded,
    CommitReceived,
    Decided,
    FoundEvidence,
    GetValue,
    Input,
    LeaveCollect,
    LocalValue,
    NeedValue,
    NewRound,
    Output,
    PolkaReceived,
    ProposalReceived,
    Propose,
    PublishCommit,
    PublishPolka,
    Restarted,
    Schedule,
    SendPrecommit,
    SendPrevote,
    TimeoutFired,
    ValuePending,
    ValueReady,
    VoteReceived,
)
from p2pfed.consensus.machine import Action, StartTimer, State, Step
from p2pfed.consensus.proposer import proposer_index
from p2pfed.consensus.restart import Word, state_of, words_of
from p2pfed.consensus.signer import SignRecord, initial_record
from p2pfed.consensus.timeouts import Preset
from p2pfed.consensus.vote_keeper import Lie, VoteKeeper
from p2pfed.types.block import Header
from p2pfed.types.certificate import CommitCert, PolkaCert
from p2pfed.types.message import SignatureCheck, SignedMessage
from p2pfed.types.params import ROUNDS_AHEAD_MAX
from p2pfed.types.validators import ValidatorSet
from p2pfed.types.vote import Precommit, Prevote, Vote
from p2pfed.types.wire import ProposalMessage, RoundVotes


class Engine:
    """One height of one peer. `own_index` None: an observer, that follows and never speaks."""

    def __init__(
        self,
        *,
        chain_id: bytes,
        height: int,
        validators: ValidatorSet,
        own_index: int | None,
        preset: Preset,
        record: SignRecord | None = None,
        is_signed_by: SignatureCheck = SignedMessage.is_signed_by,
    ) -> None:
        assert own_index is None or 0 <= own_index < len(validators)
        assert record is None or record.height <= height  # Above: the node syncs first and votes nowhere.
        self.chain_id = chain_id
        self.height = height
        self.validators = validators
        self.own_index = own_index
        self._preset = preset
        self._admission = Admission(chain_id, height, validators, is_signed_by)
        self._votes = VoteKeeper(validators)
        self._proposals: dict[int, ProposalMessage] = {}  # The first of each round.
        self._equivocal_rounds: set[int] = set()  # A second proposal is evidence already.
        self._headers: dict[bytes, Header] = {}
        self._verdicts: dict[bytes, bool] = {}
        self._pending: dict[bytes, ValuePending] = {}
        self._extended_round = -1  # The round whose propose timeout was lengthened, once.
        self._awaited_round: int | None = None  # GetValue is out for it.
        self._record = record or initial_record()
        self._state = self._restored()
        self._settled: State | None = None  # No rule fires in it while the votes' `changes` stay as they are.
        self._changes_settled = 0

    def step(self, input_: Input) -> tuple[Output, ...]:
        """Return what to do about `input_`, in order.

        Raises:
            PeerFault: A peer's message is malformed, misplaced, or not signed; blame whoever sent this copy.
        """
        outputs: list[Output] = []
        match input_:  # The frequent ones first: each miss costs.
            case VoteReceived(vote=vote):
                self._take_vote(vote, outputs)
            case TimeoutFired():
                self._take_timeout(input_, outputs)
            case ProposalReceived(message=message):
                self._take_proposal(message, outputs)
            case PolkaReceived(cert=cert):
                self._take_polka(cert, outputs)
            case CommitReceived(cert=cert):
                self._take_commit(cert, outputs)
            case CollectEnded():
                round_ahead = self._votes.round_ahead(0)
                self._apply(machine.CollectLeft(0 if round_ahead is None else round_ahead), outputs)
            case ValueReady(value_id=value_id, is_valid=is_valid):
                self._verdicts.setdefault(value_id, is_valid)
                self._settled = None
            case ValuePending():
                self._pending[input_.value_id] = input_
            case LocalValue():
                self._take_local_value(input_, outputs)
            case Restarted():
                outputs.extend(self.again(words_of(self._record)))
            case _:
                assert_never(input_)
        self._run_rules(outputs)
        return tuple(outputs)

    @property
    def round(self) -> int:
        """The round at work, -1 in COLLECT."""
        return self._state.round

    @property
    def current_step(self) -> Step:
        return self._state.step

    @property
    def locked_round(self) -> int:
        return self._state.locked_round

    @property
    def locked_value(self) -> bytes | None:
        return self._state.locked_value

    @property
    def votes_held(self) -> int:
        """How many votes are kept: at most two of a sender, kind and round."""
        return len(self._votes)

    @property
    def valid_round(self) -> int:
        return self._state.valid_round

    @property
    def decided(self) -> CommitCert | None:
        return self._state.decided

    @property
    def polkas(self) -> tuple[PolkaCert, ...]:
        """Every polka certificate held, ascending by round."""
        return self._votes.polkas

    @property
    def best_polka(self) -> PolkaCert | None:
        """The polka of our valid value: what a peer with a lower valid round lacks."""
        if self._state.valid_value is None:
            return None
        return self._votes.polka(self._state.valid_round, self._state.valid_value)

    @property
    def mark(self) -> tuple[object, ...]:
        """What differs after any input that moved this engine: its state, and how much it has taken in."""
        taken = (self._proposals, self._equivocal_rounds, self._headers, self._verdicts)
        counts = (len(self._votes), self._votes.changes, *map(len, taken))
        pending = tuple(self._pending.values())  # A later word on one value replaces the earlier.
        return (self._state, self._extended_round, self._awaited_round, pending, *counts)

    def snapshot(self) -> tuple[object, ...]:
        """Return all that this engine knows, as plain values: equal where two engines would go on alike."""
        pending = sorted((key, msgspec.structs.astuple(value)) for key, value in self._pending.items())
        values = (sorted(self._headers), sorted(self._verdicts.items()), pending)
        rounds = (self._extended_round, self._awaited_round, sorted(self._equivocal_rounds))
        said = (sorted(self._proposals.items()), self._votes.snapshot())
        return (self.height, msgspec.structs.astuple(self._state), rounds, values, said)

    def verdict(self, value_id: bytes) -> bool | None:
        """Return what the check of a value found, None where it is not known."""
        return self._verdicts.get(value_id)

    def proposer(self, round_: int) -> int:
        """Return the index of the proposer of a round."""
        return proposer_index(self.validators, self.chain_id, self.height, round_)

    def proposal(self, round_: int) -> ProposalMessage | None:
        """Return the first proposal of a round with the polka we hold for it: as it can be sent to others."""
        message = self._proposals.get(round_)
        if message is None:
            return None
        proposal = message.proposal
        polka = self._votes.polka(proposal.valid_round, proposal.value_id)
        return msgspec.structs.replace(message, polka=polka)

    def header(self, value_id: bytes) -> Header | None:
        """Return the header of a value seen in a proposal, or None."""
        return self._headers.get(value_id)

    def digest_rounds(self) -> tuple[RoundVotes, ...]:
        """Return what is held of the last two rounds, for the gossip digest."""
        latest = max(self.round, 0)
        return tuple(
            self._votes.summary(round_, has_proposal=round_ in self._proposals)
            for round_ in range(max(latest - 1, 0), latest + 1)
        )

    def votes_missing(self, theirs: RoundVotes) -> tuple[Vote, ...]:
        """Return the votes of a round that a peer lacks by its own word; a bad bitmap raises PeerFault."""
        return self._votes.missing(theirs)

    def votes_ahead(self, their_round: int) -> tuple[Vote, ...]:
        """Return all votes of the latest round that lifts a peer from `their_round` (U8); empty if none does.

        A peer drops votes more than ROUNDS_AHEAD_MAX rounds above its own, so a far one climbs in strides.
        """
        round_ = self._votes.round_ahead(their_round, their_round + ROUNDS_AHEAD_MAX)
        return () if round_ is None else self._votes.first_votes(round_)

    def _restored(self) -> State:
        """Return the state at the start, with the lock that the record remembers."""
        record = self._record
        state = state_of(record, self.height)
        if state.locked_value is not None:
            assert record.lock_cert is not None
            assert record.lock_header is not None
            self._headers[state.locked_value] = record.lock_header
            self._votes.add_polka(record.lock_cert)
        return state

    def again(self, words: Iterable[Word]) -> tuple[Output, ...]:
        """Return what was asked for and not answered, with `words` of this round; nothing changes (W6).

        Timers and answers died with the process. The signer returns for a word what it signed for it.
        """
        state = self._state
        outputs: list[Output] = []
        if state.step is Step.COLLECT and state.is_leaving:
            outputs.append(LeaveCollect())
        if self.best_polka is not None:
            outputs.append(PublishPolka(self.best_polka))
        unknown = [item for item in self._headers.items() if self._verdicts.get(item[0]) is not False]
        outputs.extend(NeedValue(value_id, header) for value_id, header in unknown)
        if state.decided is not None:
            is_ready = state.decided_is_valid is True
            return (*outputs, PublishCommit(state.decided), Decided(state.decided, is_ready))
        if state.step is not Step.COLLECT:
            outputs.extend(words)
        if self._awaited_round == state.round and state.step is Step.PROPOSE:
            outputs.append(GetValue(state.round))
        if state.step is Step.PROPOSE:
            self._perform(StartTimer("propose"), outputs)
        if state.step is Step.PREVOTE and state.has_prevote_timer:
            self._perform(StartTimer("prevote"), outputs)
        if state.has_precommit_timer:
            self._perform(StartTimer("precommit"), outputs)
        return tuple(outputs)

    def _take_proposal(self, message: ProposalMessage, outputs: list[Output]) -> None:
        proposal = message.proposal
        self._admission.verify_proposal_place(proposal, self._state.round)
        held = self._proposals.get(proposal.round)
        if held is not None and claim_of(held.proposal) != claim_of(proposal):
            self._take_second(held, message, outputs)
            return
        if held is None:
            self._admission.verify_proposal_content(message)
        # The attachment is not signed: a bad one is the fault of this copy, and another copy may bring it.
        if message.polka is not None and self._votes.polka(proposal.valid_round, proposal.value_id) is None:
            self._admission.verify_attached_polka(message)
            _tell(self._votes.add_polka(message.polka), outputs)
        if held is None:
            self._proposals[proposal.round] = message
            self._settled = None
            self._learn(message.header, proposal.value_id, outputs)

    def _take_second(self, held: ProposalMessage, message: ProposalMessage, outputs: list[Output]) -> None:
        """Two proposals of one round are evidence, once; the second is not kept otherwise."""
        proposal = message.proposal
        if proposal.round in self._equivocal_rounds:
            return
        self._admission.verify_proposal_content(message)
        self._equivocal_rounds.add(proposal.round)
        outputs.append(FoundEvidence(duplicate_proposal(held.proposal, proposal)))

    def _take_vote(self, vote: Vote, outputs: list[Output]) -> None:
        self._admission.verify_vote_place(vote, self._state.round)
        if self._votes.has(vote):
            return
        self._admission.verify_vote_signature(vote)
        _tell(self._votes.add(vote), outputs)

    def _take_polka(self, cert: PolkaCert, outputs: list[Output]) -> None:
        self._admission.verify_height(cert.height)
        if self._votes.polka(cert.round, cert.value_id, cert.valid_round) is None:
            self._admission.verify_polka(cert)
            _tell(self._votes.add_polka(cert), outputs)

    def _take_commit(self, cert: CommitCert, outputs: list[Output]) -> None:
        self._admission.verify_height(cert.height)
        if self.decided is None or self.decided.value_id != cert.value_id:
            self._admission.verify_commit(cert)
            _tell(self._votes.add_commit(cert), outputs)

    def _take_local_value(self, local: LocalValue, outputs: list[Output]) -> None:
        state = self._state
        is_over = state.decided is not None or state.step is not Step.PROPOSE or state.round != local.round
        if is_over or self._awaited_round != local.round:
            return  # C2: too late, or answered already.
        self._awaited_round = None
        header, value_id = local.header, local.header.value_id
        assert (header.height, header.round0) == (self.height, local.round)
        self._headers.setdefault(value_id, header)
        self._verdicts.setdefault(value_id, True)
        self._settled = None
        outputs.append(Propose(local.round, header, -1, None))

    def _take_timeout(self, fired: TimeoutFired, outputs: list[Output]) -> None:
        message = self._proposals.get(fired.round)
        if (
            fired.kind == "propose"
            and fired.round == self.round != self._extended_round
            and self._state.step is Step.PROPOSE
            and message is not None
            and message.proposal.value_id not in self._verdicts
        ):  # T1: the header is here, its data is not. Wait once more, for as long as that takes.
            self._extended_round = self.round
            pending = self._pending.get(message.proposal.value_id, ValuePending(b"", 0, 1))
            delay_ms = self._preset.fetch_ms(pending.missing_bytes, pending.bytes_per_second)
            outputs.append(Schedule("propose", self.round, delay_ms))
            return
        self._apply(fired, outputs)

    def _learn(self, header: Header, value_id: bytes, outputs: list[Output]) -> None:
        if value_id in self._headers:
            return
        self._headers[value_id] = header
        if value_id not in self._verdicts:
            outputs.append(NeedValue(value_id, header))

    def _run_rules(self, outputs: list[Output]) -> None:
        """Fire the first rule that can, again and again; each one moves the state on, so this ends.

        Most votes bring no new fact; then nothing is asked again.
        """
        if self._settled is self._state and self._changes_settled == self._votes.changes:
            return
        is_moving = True
        while is_moving:
            is_moving = False
            for fact in self._facts():
                if self._apply(fact, outputs):
                    is_moving = True
                    break
        self._settled, self._changes_settled = self._state, self._votes.changes

    def _facts(self) -> list[machine.Event]:
        """Return what is known, in the order of the rules U1 to U8.

        What no rule could use in this step, or one did use, is left out: it costs and moves nothing.
        """
        state, votes, verdicts = self._state, self._votes, self._verdicts
        round_, step, message = state.round, state.step, self._proposals.get(state.round)
        commits = [machine.CommitSeen(cert, verdicts.get(cert.value_id)) for cert in votes.commits]
        if state.decided is not None:
            return [*commits]
        facts: list[machine.Event] = []
        if message is not None and step is Step.PROPOSE:
            facts.append(self._proposal_fact(message))
        if step is Step.PREVOTE and not state.has_prevote_timer and votes.has_quorum_of_any(Prevote, round_):
            facts.append(_PREVOTES_SEEN)
        if message is not None and (step is Step.PREVOTE or state.valid_round < round_):
            said = message.proposal
            cert = votes.polka(round_, said.value_id, said.valid_round)
            if cert is not None and verdicts.get(said.value_id) is True:
                facts.append(machine.PolkaSeen(cert, message.header))
        for cert in votes.polkas:
            is_known = cert.value_id in self._headers and verdicts.get(cert.value_id) is True
            if is_known and cert.round > state.valid_round:
                facts.append(machine.LatePolkaSeen(cert))
        if step is Step.PREVOTE and votes.has_nil_polka(round_):
            facts.append(_NIL_POLKA_SEEN)
        if not state.has_precommit_timer and votes.has_quorum_of_any(Precommit, round_):
            facts.append(_PRECOMMITS_SEEN)
        facts += commits
        ahead = votes.round_ahead(round_)
        if ahead is not None:
            facts.append(machine.RoundAhead(ahead))
        return facts

    def _proposal_fact(self, message: ProposalMessage) -> machine.ProposalSeen:
        proposal, header = message.proposal, message.header
        proposer_key = self.validators.validators[proposal.validator_index].key
        return machine.ProposalSeen(
            value_id=proposal.value_id,
            valid_round=proposal.valid_round,
            is_fresh=(header.round0, header.proposer) == (proposal.round, proposer_key),
            has_polka=self._votes.polka(proposal.valid_round, proposal.value_id) is not None,
            is_valid=self._verdicts.get(proposal.value_id),
        )

    def _apply(self, event: machine.Event, outputs: list[Output]) -> bool:
        """Offer `event` to the rules; answer whether one fired."""
        before = self._state
        after, actions = machine.apply(before, event)
        if after is before:  # No rule fired: the very same state, and so nothing to do.
            assert not actions
            return False
        self._state = after
        for action in actions:
            self._perform(action, outputs)
        return True

    def _perform(self, action: Action, outputs: list[Output]) -> None:
        """Turn an action of the rules into outputs: the engine knows delays, proposers and headers."""
        if type(action) is StartTimer:
            outputs.append(Schedule(action.kind, self.round, self._preset.delay_ms(action.kind, self.round)))
        elif type(action) is NewRound:
            outputs.append(action)
            if self.proposer(action.round) == self.own_index:
                outputs.append(self._proposal_of(action.round))
        elif self.own_index is not None or type(action) not in _OWN_WORDS:
            outputs.append(action)

    def _proposal_of(self, round_: int) -> Output:
        """Return how we propose: our valid value again, with its polka, or a new one that the node builds."""
        state = self._state
        if state.valid_value is None:
            self._awaited_round = round_
            return GetValue(round_)
        polka = self.best_polka
        assert polka is not None
        return Propose(round_, self._headers[state.valid_value], state.valid_round, polka)


_PREVOTES_SEEN, _PRECOMMITS_SEEN = machine.PrevotesSeen(), machine.PrecommitsSeen()
_NIL_POLKA_SEEN = machine.NilPolkaSeen()
_OWN_WORDS = (SendPrevote, SendPrecommit)  # Nothing of them leaves an observer.


def _tell(found: tuple[Lie, ...], outputs: list[Output]) -> None:
    outputs += [FoundEvidence(evidence) for evidence in found]
