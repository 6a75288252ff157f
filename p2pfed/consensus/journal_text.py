"""Entries of the log and the signer's record as lines for people."""

from __future__ import annotations

from typing import assert_never

from p2pfed.consensus import io
from p2pfed.consensus.journal import Began, Ended, Entry, Said, Spoken
from p2pfed.consensus.signer import SignRecord
from p2pfed.types.vote import Prevote
from p2pfed.types.wire import ProposalMessage

STEPS = ("nothing", "proposal", "prevote", "precommit")  # By the record's step.


def describe(entry: Entry) -> str:
    """Return one line that says what an entry is."""
    match entry:
        case Began(record=record):
            if record is None:
                return f"height {entry.height} begins, {_who(entry.own_index)}"
            return f"height {entry.height} goes on from the vote state at {place_of(record)}"
        case Said(message=message):
            return f"we said {_spoken(message)}"
        case Ended(height=height):
            return f"height {height} is stored"
        case io.ProposalReceived(message=proposal):
            return _spoken(proposal)
        case io.VoteReceived(vote=vote):
            return _spoken(vote)
        case io.PolkaReceived(cert=cert):
            return f"polka {cert.height}/{cert.round} {short(cert.value_id)} of {len(cert.signatures)} votes"
        case io.CommitReceived(cert=commit):
            signed = len(commit.signatures)
            return f"commit {commit.height}/{commit.round} {short(commit.value_id)} of {signed} votes"
        case io.ValueReady(value_id=value_id, is_valid=is_valid):
            return f"the check found {short(value_id)} {'valid' if is_valid else 'invalid'}"
        case io.ValuePending(value_id=value_id, missing_bytes=missing):
            return f"{missing} bytes of {short(value_id)} are on the way"
        case io.LocalValue(header=header):
            return f"we built {short(header.value_id)} for round {entry.round}"
        case io.CollectEnded():
            return "collecting ended"
        case io.TimeoutFired(kind=kind):
            return f"the {kind} timer of round {entry.round} ran out"
        case io.Restarted():
            return "started again"
        case _:
            assert_never(entry)


def place_of(record: SignRecord) -> str:
    """Return where a record stands: height, round and what was signed there last."""
    if record.height == 0:
        return "no vote yet"
    return f"{STEPS[record.step]} of height {record.height}, round {record.round}"


def short(value_id: bytes | None) -> str:
    """Return the beginning of a value's id, or nil."""
    return "nil" if value_id is None else f"{value_id.hex()[:12]}…"


def _who(own_index: int | None) -> str:
    return "as an observer" if own_index is None else f"as validator {own_index}"


def _spoken(message: Spoken) -> str:
    if isinstance(message, ProposalMessage):
        said, kind, valid_round = (
            message.proposal,
            "proposal",
            f", valid round {message.proposal.valid_round}",
        )
    elif isinstance(message, Prevote):
        said, kind, valid_round = message, "prevote", f", valid round {message.valid_round}"  # type: ignore[assignment]
    else:
        said, kind, valid_round = message, "precommit", ""  # type: ignore[assignment]
    place = f"{said.height}/{said.round}"
    return f"{kind} {place} {short(said.value_id)}{valid_round} of validator {said.validator_index}"
