"""Find a forgotten lock (E2) among the votes of one height, whatever the order in which they come."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from msgspec import Struct, field

from p2pfed.types.evidence import Amnesia
from p2pfed.types.vote import Precommit, Prevote, Vote


class _Said(Struct):
    """What one validator said for values.

    A prevote of round r with valid round vr contradicts every precommit of a round between the two. So a
    prevote whose gap lies within another's adds nothing: those kept ascend by round and by valid round.
    """

    precommits: list[Precommit] = field(default_factory=list)  # Ascending by round.
    prevotes: list[Prevote] = field(default_factory=list)


class AmnesiaWatch:
    """The votes for values of each validator, in the order in which a contradiction is found by bisection."""

    def __init__(self) -> None:
        self._said: dict[int, _Said] = {}
        self._caught: set[int] = set()

    def add(self, vote: Vote) -> Amnesia | None:
        """Note a verified vote; return the proof that it completes, once for each sender."""
        if vote.value_id is None or vote.validator_index in self._caught:
            return None
        said = self._said.get(vote.validator_index)
        if said is None:
            said = self._said[vote.validator_index] = _Said()
        found = _precommit(said, vote) if type(vote) is Precommit else _prevote(said, vote)
        if found is not None:
            self._caught.add(vote.validator_index)
            del self._said[vote.validator_index]
        return found


def _precommit(said: _Said, vote: Precommit) -> Amnesia | None:
    earlier = bisect_left(said.prevotes, vote.round, key=_valid_round)
    if earlier and said.prevotes[earlier - 1].round > vote.round:  # The latest of those with vr < round.
        return Amnesia(vote, said.prevotes[earlier - 1])
    said.precommits.insert(bisect_right(said.precommits, vote.round, key=_round), vote)
    return None


def _prevote(said: _Said, vote: Prevote) -> Amnesia | None:
    if said.precommits:
        later = bisect_right(said.precommits, vote.valid_round, key=_round)
        if later < len(said.precommits) and said.precommits[later].round < vote.round:
            return Amnesia(said.precommits[later], vote)
    if not said.prevotes:  # Mostly so: the first round decides.
        said.prevotes.append(vote)
        return None
    wider = bisect_left(said.prevotes, vote.round, key=_round)
    if wider < len(said.prevotes) and said.prevotes[wider].valid_round <= vote.valid_round:
        return None
    narrower = bisect_left(said.prevotes, vote.valid_round, key=_valid_round)
    said.prevotes[narrower : bisect_right(said.prevotes, vote.round, key=_round)] = [vote]
    return None


def _round(vote: Vote) -> int:
    return vote.round


def _valid_round(vote: Prevote) -> int:
    return vote.valid_round
