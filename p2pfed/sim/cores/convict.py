"""Who is convicted by a pile of signed messages. Written apart from `consensus.evidence`, to check it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from p2pfed.types.proposal import Proposal
from p2pfed.types.vote import Precommit, Prevote

Signed = Proposal | Prevote | Precommit
Word = tuple[bytes | None, int]  # Value and valid round.


def offences(messages: Iterable[Signed]) -> dict[int, set[str]]:
    """Return E1, E2 and E3 by validator index; the signatures were checked before.

    E1: two votes of one kind, height and round. E2: a precommit of a value in round r, and a prevote of a
    value in a later round whose valid round is below r. E3: two proposals of one height and round.
    """
    found: dict[int, set[str]] = defaultdict(set)
    said: dict[tuple[int, int, int, type], Word] = {}
    locks: dict[tuple[int, int], list[int]] = defaultdict(list)
    votes: list[Prevote] = []
    for message in messages:
        index, kind = message.validator_index, type(message)
        word = (message.value_id, -1 if type(message) is Precommit else message.valid_round)
        if said.setdefault((index, message.height, message.round, kind), word) != word:
            found[index].add("E3" if kind is Proposal else "E1")
        if message.value_id is not None:
            if type(message) is Precommit:
                locks[index, message.height].append(message.round)
            elif type(message) is Prevote:
                votes.append(message)
    for vote in votes:
        forgotten = locks.get((vote.validator_index, vote.height), ())
        if any(vote.valid_round < lock < vote.round for lock in forgotten):
            found[vote.validator_index].add("E2")
    return dict(found)
