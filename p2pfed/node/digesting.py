"""Digests: say what we hold of a height, and send a peer what its digest shows it lacks."""

from __future__ import annotations

from collections import deque

import msgspec

from p2pfed.chain.state import ChainState
from p2pfed.errors import MalformedMessage
from p2pfed.gossip.digests import missing, with_rest
from p2pfed.node.height import HeightWork
from p2pfed.types.wire import LISTENS, ControlMessage, Digest, RoundVotes

# One digest is answered with at most so many messages; the next one asks for the rest.
REPLY_MESSAGES_MAX = 256
NOTES_PER_FLIGHT = 4  # So fine are the notes of what is held: a lost message waits a quarter longer at most.


class Settled:
    """What this peer held a flight ago: by now it has come to everybody or is lost."""

    def __init__(self, flight_ms: int) -> None:
        self._flight_ms = flight_ms
        self._notes: deque[tuple[int, Digest]] = deque()  # Of one height, the oldest first.

    def note(self, digest: Digest, now_ms: int) -> None:
        """Remember what is held now."""
        notes = self._notes
        if notes and notes[-1][1].height != digest.height:
            notes.clear()
        if not notes or NOTES_PER_FLIGHT * (now_ms - notes[-1][0]) >= self._flight_ms:
            notes.append((now_ms, digest))
        while len(notes) > 1 and notes[1][0] + self._flight_ms <= now_ms:
            notes.popleft()

    def held(self, height: int, now_ms: int) -> Digest | None:
        """Return the newest note of `height` that is a flight old, or None."""
        old = [digest for noted_ms, digest in self._notes if noted_ms + self._flight_ms <= now_ms]
        return old[-1] if old and old[-1].height == height else None


def digest_of(state: ChainState, work: HeightWork | None, *, is_listening: bool = False) -> Digest:
    """Return what this peer holds of the height it works on; nothing where it works on none."""
    avails_bytes, updates_bytes = (len(state.validators) + 7) // 8, (len(state.trainers) + 7) // 8
    if work is None:
        step = LISTENS if is_listening else 0
        return Digest(state.next_height, 0, step, -1, -1, (), bytes(avails_bytes), bytes(updates_bytes))
    engine = work.engine
    return Digest(
        height=work.height,
        round=max(engine.round, 0),
        step=int(engine.current_step),
        locked_round=engine.locked_round,
        valid_round=engine.valid_round,
        rounds=engine.digest_rounds(),
        avails=work.pool.avail_bits.to_bytes(avails_bytes, "little"),
        updates=work.pool.update_bits.to_bytes(updates_bytes, "little"),
    )


def expected(work: HeightWork, theirs: Digest, settled: Digest | None) -> Digest:
    """Return `theirs` as if all had come there that came here after `settled`: it is on its way.

    Whoever answers a digest to the letter sends again what was just pushed, and everybody does.

    Args:
        work: Our work on the height of the digest.
        theirs: The digest, from outside.
        settled: What we held of this height a flight ago, None: nothing.

    Raises:
        MalformedMessage: A bitmap of the digest is not one of this height.
    """
    settled = settled or digest_of(work.state, None)
    validators, trainers = len(work.state.validators), len(work.state.trainers)
    valid_round = theirs.valid_round
    if settled.valid_round <= valid_round < work.engine.valid_round:
        valid_round = work.engine.valid_round  # Our polka is news.
    return msgspec.structs.replace(
        theirs,
        valid_round=valid_round,
        rounds=tuple(_expected_votes(entry, settled, validators) for entry in theirs.rounds),
        avails=with_rest(theirs.avails, settled.avails, validators),
        updates=with_rest(theirs.updates, settled.updates, trainers),
    )


def _expected_votes(theirs: RoundVotes, settled: Digest, validators: int) -> RoundVotes:
    rounds = {entry.round: entry for entry in settled.rounds}
    if rounds and theirs.round < min(rounds):
        return theirs  # All of such an old round is settled.
    nobody = bytes((validators + 7) // 8)
    before = rounds.get(theirs.round, RoundVotes(theirs.round, nobody, nobody, has_proposal=False))
    return RoundVotes(
        theirs.round,
        with_rest(theirs.prevotes, before.prevotes, validators),
        with_rest(theirs.precommits, before.precommits, validators),
        theirs.has_proposal or not before.has_proposal,
    )


def lacking(work: HeightWork, theirs: Digest) -> list[ControlMessage]:
    """Return what we hold of this height and a peer with the digest `theirs` lacks.

    Raises:
        MalformedMessage: A bitmap of the digest is not one of this height.
    """
    assert theirs.height == work.height
    engine, state = work.engine, work.state
    if not theirs.round <= max((entry.round for entry in theirs.rounds), default=theirs.round):
        raise MalformedMessage("a digest that leaves out its own round")
    messages: list[ControlMessage] = []
    if engine.decided is not None:
        messages.append(engine.decided)
    ours = digest_of(state, work)
    trainers = state.trainers
    wanted = {trainers[i] for i in missing(ours.updates, theirs.updates, len(trainers))}
    if work.pool.pledges is not None:
        messages.extend(pledge for pledge in work.pool.pledges.due() if pledge.trainer in wanted)
    messages.extend(
        header
        for _, header in sorted(work.pool.known.items())
        if header.trainer in wanted and work.pool.is_due(header)
    )
    messages.extend(work.pool.avails[i] for i in missing(ours.avails, theirs.avails, len(state.validators)))
    if engine.best_polka is not None and engine.valid_round > theirs.valid_round:
        messages.append(engine.best_polka)
    for entry in theirs.rounds:
        messages.extend(_lacking_in_round(work, entry))
    messages.extend(engine.votes_ahead(theirs.round))
    return messages[:REPLY_MESSAGES_MAX]


def lacking_to_follow(work: HeightWork, theirs: Digest) -> list[ControlMessage]:
    """Return what an observer with the digest `theirs` lacks of a decision: certificate and proposal."""
    decided = work.engine.decided
    if decided is None:
        return []
    proposal = work.engine.proposal(decided.round)
    is_there = any(entry.round == decided.round and entry.has_proposal for entry in theirs.rounds)
    return [decided] if proposal is None or is_there else [decided, proposal]


def _lacking_in_round(work: HeightWork, theirs: RoundVotes) -> list[ControlMessage]:
    messages: list[ControlMessage] = []
    proposal = work.engine.proposal(theirs.round)
    if proposal is not None and not theirs.has_proposal:
        messages.append(proposal)
    messages.extend(work.engine.votes_missing(theirs))
    return messages
