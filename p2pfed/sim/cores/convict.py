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
    words: dict[tuple[int, int, str], dict[int, set[Word]]] = defaultdict(lambda: defaultdict(set))
    for message in messages:
        if isinstance(message, Precommit):
            kind, word = "precommit", (message.value_id, -1)
        elif isinstance(message, Prevote):
            kind, word = "prevote", (message.value_id, message.valid_round)
        else:
            kind, word = "proposal", (message.value_id, message.valid_round)
        words[message.validator_index, message.height, kind][message.round].add(word)
    found: dict[int, set[str]] = defaultdict(set)
    for (index, height, kind), by_round in words.items():
        if any(len(said) > 1 for said in by_round.values()):
            found[index].add("E3" if kind == "proposal" else "E1")
        if kind == "precommit" and _is_amnesiac(by_round, words.get((index, height, "prevote"), {})):
            found[index].add("E2")
    return dict(found)


def _is_amnesiac(precommits: dict[int, set[Word]], prevotes: dict[int, set[Word]]) -> bool:
    locks = [round_ for round_, said in precommits.items() if any(value is not None for value, _ in said)]
    return any(
        lock < round_ and value is not None and valid_round < lock
        for lock in locks
        for round_, said in prevotes.items()
        for value, valid_round in said
    )
