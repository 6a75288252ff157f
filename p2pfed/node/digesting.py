"""Digests: say what we hold of a height, and send a peer what its digest shows it lacks."""

from __future__ import annotations

from p2pfed.chain.state import ChainState
from p2pfed.errors import MalformedMessage
from p2pfed.gossip.digests import missing
from p2pfed.node.height import HeightWork
from p2pfed.types.bitmap import bitmap_of
from p2pfed.types.wire import ControlMessage, Digest, RoundVotes

# One digest is answered with at most so many messages; the next one asks for the rest.
REPLY_MESSAGES_MAX = 256


def digest_of(state: ChainState, work: HeightWork | None) -> Digest:
    """Return what this peer holds of the height it works on; nothing where it works on none."""
    trainers = state.trainers
    if work is None:
        avails, updates = bitmap_of((), len(state.validators)), bitmap_of((), len(trainers))
        return Digest(state.next_height, 0, 0, -1, -1, (), avails, updates)
    engine = work.engine
    authors = {header.trainer for header in work.pool.known.values()}
    return Digest(
        height=work.height,
        round=max(engine.round, 0),
        step=int(engine.current_step),
        locked_round=engine.locked_round,
        valid_round=engine.valid_round,
        rounds=engine.digest_rounds(),
        avails=bitmap_of(work.pool.avails, len(state.validators)),
        updates=bitmap_of([i for i, key in enumerate(trainers) if key in authors], len(trainers)),
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
    messages.extend(
        header for update_id, header in sorted(work.pool.known.items()) if header.trainer in wanted
    )
    messages.extend(work.pool.avails[i] for i in missing(ours.avails, theirs.avails, len(state.validators)))
    if engine.best_polka is not None and engine.valid_round > theirs.valid_round:
        messages.append(engine.best_polka)
    for entry in theirs.rounds:
        messages.extend(_lacking_in_round(work, entry))
    messages.extend(engine.votes_ahead(theirs.round))
    return messages[:REPLY_MESSAGES_MAX]


def _lacking_in_round(work: HeightWork, theirs: RoundVotes) -> list[ControlMessage]:
    messages: list[ControlMessage] = []
    proposal = work.engine.proposal(theirs.round)
    if proposal is not None and not theirs.has_proposal:
        messages.append(proposal)
    messages.extend(work.engine.votes_missing(theirs))
    return messages
