"""What a validator takes up after a restart: the state that the signer's record remembers, its words."""

from __future__ import annotations

from msgspec.structs import replace

from p2pfed.consensus.io import Propose, SendPrecommit, SendPrevote
from p2pfed.consensus.machine import State, Step
from p2pfed.consensus.signer import SignRecord

Word = Propose | SendPrevote | SendPrecommit


def state_of(record: SignRecord, height: int) -> State:
    """Return the state that the record remembers of `height` (W6), or the one at its start (C0)."""
    if record.height != height or record.round < 0:
        said = record.avail
        return State(is_leaving=said is not None and said.avail.height == height)
    state = State(
        round=record.round,
        step=Step(record.step),
        has_prevote_timer=record.step == Step.PREVOTE,  # The engine starts it as it goes on.
        has_precommit_timer=record.step == Step.PRECOMMIT,
    )
    if record.lock_cert is None:
        return state
    value_id = record.lock_cert.value_id
    return replace(
        state,
        locked_round=record.lock_round,
        locked_value=value_id,
        valid_round=record.lock_round,
        valid_value=value_id,
    )


def words_of(record: SignRecord) -> tuple[Word, ...]:
    """Return what asks the signer for the messages of the record's round: it returns the very same ones."""
    words: list[Word] = []
    if record.proposal is not None:
        said = record.proposal
        words.append(Propose(record.round, said.header, said.proposal.valid_round, said.polka))
    if record.prevote is not None:
        words.append(SendPrevote(record.round, record.prevote.value_id, record.prevote.valid_round))
    if record.precommit is not None:
        value_id = record.precommit.value_id
        lock = (record.lock_cert, record.lock_header) if value_id is not None else (None, None)
        words.append(SendPrecommit(record.round, value_id, *lock))
    return tuple(words)
