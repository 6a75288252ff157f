"""Go through a height's log again, with effects muted, and hold the outcome against the signer's record (W4).

What was said before the crash must come out again, word for word; what a check found is read, never asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from p2pfed.consensus import io
from p2pfed.consensus.engine import Engine
from p2pfed.consensus.evidence import Claim, claim_of
from p2pfed.consensus.journal import Began, Ended, Entry, Said, Spoken, input_of
from p2pfed.consensus.restart import Word
from p2pfed.consensus.signer import SignRecord
from p2pfed.errors import LocalError, PeerFault, StorageFault
from p2pfed.primitives import codec
from p2pfed.primitives.digest import sha256
from p2pfed.types.block import Header
from p2pfed.types.vote import Prevote
from p2pfed.types.wire import ProposalMessage

Place = tuple[int, int]  # Round, and step as in the record: 1 proposal, 2 prevote, 3 precommit.
_NOWHERE: Place = (-1, 0)
_STEP_NAMES = ("nothing", "proposal", "prevote", "precommit")
REPAIR = "run `p2pfed repair --forget-log`: the peer then goes on from its vote_state.json alone"


class Replayed(Struct, frozen=True):
    """An engine that is where it was.

    words: What it wanted said in its current round; signed already, but for the last of them at most.
    kept: Outputs that must not stay muted: proofs of lies and of a fork.
    """

    engine: Engine
    words: tuple[Word, ...]
    kept: tuple[io.FoundEvidence | io.SafetyViolated, ...]


def fingerprint(engine: Engine) -> bytes:
    """Return a hash over all that an engine knows, 32 bytes."""
    return sha256(codec.encode(engine.snapshot()))


def history_of(entries: Sequence[Entry], height: int) -> tuple[Entry, ...]:
    """Return what the newest engine of `height` was told, its Began first; empty where the log has none."""
    begun = [at for at, entry in enumerate(entries) if isinstance(entry, Began)]
    if not begun:
        return ()
    newest = entries[begun[-1]]
    assert isinstance(newest, Began)
    if newest.height != height:
        return ()
    return tuple(entry for entry in entries[begun[-1] :] if not isinstance(entry, Ended))


def values_of(history: Sequence[Entry]) -> tuple[Header, ...]:
    """Return the header of each value that a history counts as valid: its data must still be here (W8)."""
    headers: dict[bytes, Header] = {}
    valid: list[bytes] = []
    for entry in history:
        match entry:
            case io.ProposalReceived(message=message) | Said(message=ProposalMessage() as message):
                headers[message.header.value_id] = message.header
            case io.LocalValue(header=header):
                headers[header.value_id] = header
                valid.append(header.value_id)
            case Began(record=SignRecord(lock_header=Header() as header)):
                headers[header.value_id] = header
            case io.ValueReady(value_id=value_id, is_valid=True):
                valid.append(value_id)
    return tuple(headers[value_id] for value_id in dict.fromkeys(valid) if value_id in headers)


def replay(
    make: Callable[[SignRecord | None], Engine], history: Sequence[Entry], record: SignRecord
) -> Replayed | None:
    """Return the engine that `history` leads to; None where the record is ahead of it (W6 goes on).

    Args:
        make: Makes an engine of this height and peer, from a record or from nothing.
        history: What `history_of` returns.
        record: The signer's record, as it is on disk.

    Raises:
        LocalError: The record is older than the log: what was signed after it could be signed again.
        StorageFault: The log is not one that this peer's engine writes, or a word comes out as another one.
    """
    began = history[0]
    assert isinstance(began, Began)
    engine, height = make(began.record), began.height
    if record.height > height:
        return None  # The store is behind: blocks are fetched first.
    if engine.own_index != began.own_index:
        raise _damaged(f"validator {began.own_index} wrote it, this key is validator {engine.own_index}")
    words: list[Word] = []
    kept: list[io.FoundEvidence | io.SafetyViolated] = []
    claims: dict[Place, Claim] = {}
    said = _NOWHERE
    for entry in history[1:]:
        assert not isinstance(entry, Began | Ended)
        if isinstance(entry, Said):
            place, claim = _place_of(entry.message), _claim_of(entry.message)
            said = max(said, place)
            if claims.get(place) != claim:
                raise _differs(height, place, claim, claims.get(place))
        try:
            outputs = engine.step(input_of(entry.message) if isinstance(entry, Said) else entry)
        except PeerFault as fault:
            raise _damaged(f"it holds what no log holds: {fault}") from None
        for output in outputs:
            match output:
                case io.NewRound():
                    words.clear()
                case io.Propose() | io.SendPrevote() | io.SendPrecommit():
                    place, claim = _place_of_word(output), _claim_of_word(output)
                    if claims.setdefault(place, claim) != claim:
                        raise _differs(height, place, claims[place], claim)
                    if output not in words:
                        words.append(output)
                case io.FoundEvidence() | io.SafetyViolated():
                    kept.append(output)
                case _:
                    pass
    return _held_against(record, said, claims, Replayed(engine, tuple(words), tuple(kept)))


def _held_against(
    record: SignRecord, said: Place, claims: dict[Place, Claim], outcome: Replayed
) -> Replayed | None:
    height = outcome.engine.height
    is_ours = record.height == height
    signed = (record.round, record.step) if is_ours else _NOWHERE
    if said > signed:
        raise LocalError(
            f"vote_state.json is older than the log: it ends at the "
            f"{_named(record.height, (record.round, record.step))}, "
            f"the log holds our {_named(height, said)}; "
            "going on could sign twice: put back the newest vote_state.json"
        )
    if not is_ours:
        return outcome
    if signed > max(claims, default=_NOWHERE) or record.lock_round > outcome.engine.locked_round:
        return None
    for message in (record.proposal, record.prevote, record.precommit):
        if message is not None and claims.get(_place_of(message)) != _claim_of(message):
            place = _place_of(message)
            raise _differs(height, place, _claim_of(message), claims.get(place))
    return outcome


def _place_of(message: Spoken) -> Place:
    if isinstance(message, ProposalMessage):
        return message.proposal.round, 1
    return message.round, 2 if isinstance(message, Prevote) else 3


def _claim_of(message: Spoken) -> Claim:
    return claim_of(message.proposal if isinstance(message, ProposalMessage) else message)


def _place_of_word(word: Word) -> Place:
    return word.round, 1 if isinstance(word, io.Propose) else 2 if isinstance(word, io.SendPrevote) else 3


def _claim_of_word(word: Word) -> Claim:
    match word:
        case io.Propose():
            return word.header.value_id, word.valid_round
        case io.SendPrevote():
            return word.value_id, word.valid_round
        case io.SendPrecommit():
            return word.value_id, -1


def _named(height: int, place: Place) -> str:
    return f"{_STEP_NAMES[place[1]]} of height {height}, round {place[0]}"


def _shown(claim: Claim | None) -> str:
    if claim is None:
        return "none"
    return "nil" if claim[0] is None else f"{claim[0].hex()[:12]}… (valid round {claim[1]})"


def _differs(height: int, place: Place, before: Claim, now: Claim | None) -> StorageFault:
    return StorageFault(
        f"our {_named(height, place)} was for {_shown(before)}, going through the log gives {_shown(now)}; "
        f"the log is damaged or another version of p2pfed wrote it: {REPAIR}"
    )


def _damaged(why: str) -> StorageFault:
    return StorageFault(f"the log is not this peer's: {why}; {REPAIR}")
