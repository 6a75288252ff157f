"""A small model of the vote rules: all that correct voters can sign while liars complete any certificate.

A second statement of docs/spec/consensus.md (U1, U2, U4, U7, E1, E2) that imports nothing of p2pfed.

Two values, and liars that sign everything, show each voter what they like and hide the rest. What a voter
may do depends on certificates of earlier rounds, and of this round's prevotes, alone. So rounds played one
after the other, with every voter free to see or to miss each certificate, cover every order of events.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product

VALUES = (0, 1)
NIL: tuple[int, ...] = ()
# A prevote (value, valid round, valid round of the polka seen for it or -1), a precommit (value, valid round
# of the polka seen), or NIL; a round is the prevotes and the precommits of all correct voters.
Move = tuple[int, ...]
Moves = tuple[Move, ...]
Round = tuple[Moves, Moves]
History = tuple[Round, ...]
Polka = tuple[int, int, int]  # (round, value, valid round)
# ("polka", round, value, valid round, correct signers) or ("commit", round, value, -1, correct signers).
Cert = tuple[str, int, int, int, tuple[int, ...]]


@dataclass(frozen=True)
class World:
    """Stakes and who lies. Correct voters are numbered 0, 1, … in the order of `correct`."""

    correct: tuple[int, ...]
    liars: tuple[int, ...]
    is_strict: bool = True
    _completions: dict[tuple[int, ...], tuple[frozenset[int], ...]] = field(
        default_factory=dict, compare=False
    )

    @property
    def total(self) -> int:
        return sum(self.correct) + sum(self.liars)

    def is_quorum(self, power: int) -> bool:
        return 3 * power > 2 * self.total

    def can_complete(self, signers: tuple[int, ...]) -> bool:
        """Answer whether these correct voters and all liars are a quorum."""
        return self.is_quorum(sum(self.correct[voter] for voter in signers) + sum(self.liars))

    def completions(self, signers: tuple[int, ...]) -> tuple[frozenset[int], ...]:
        """Return the smallest sets of liars that make a quorum with these correct voters."""
        found = self._completions.get(signers)
        if found is None:
            held = sum(self.correct[voter] for voter in signers)
            enough = [
                frozenset(liars)
                for size in range(len(self.liars) + 1)
                for liars in combinations(range(len(self.liars)), size)
                if self.is_quorum(held + sum(self.liars[liar] for liar in liars))
            ]
            found = tuple(one for one in enough if not any(other < one for other in enough))
            self._completions[signers] = found
        return found

    def may_prevote(self, lock: tuple[int, int], value: int, valid_round: int) -> bool:
        """okLock of U1 and U2; the paper lets the locked value around it. `lock` is (round, value)."""
        return lock[0] <= valid_round or (not self.is_strict and lock[1] == value)


def signers_of(moves: Moves) -> dict[Move, tuple[int, ...]]:
    """Return who says what; a prevote without the polka seen for it, which nobody signs."""
    said: dict[Move, tuple[int, ...]] = {}
    for voter, move in enumerate(moves):
        if move:
            claim = move[:-1]
            said[claim] = (*said.get(claim, ()), voter)
    return said


def lock_of(history: History, voter: int) -> tuple[int, int]:
    """Return the round and value of the last precommit for a value: the lock (U4)."""
    for round_ in range(len(history) - 1, -1, -1):
        if history[round_][1][voter]:
            return round_, history[round_][1][voter][0]
    return -1, -1


def polkas_of(world: World, round_: int, prevotes: Moves) -> list[Polka]:
    """Return every polka of a round that the liars can complete."""
    said = signers_of(prevotes)
    return [(round_, *claim) for claim in sorted(said) if world.can_complete(said[claim])]  # type: ignore[misc]


def prevote_moves(world: World, history: History, polkas: list[Polka], voter: int) -> list[Move]:
    """U1, U2 and T1: nil, a fresh value, or one that is shown with a polka of its valid round."""
    lock = lock_of(history, voter)
    shown = [(value, -1, -1) for value in VALUES] + [(value, round_, vr) for round_, value, vr in polkas]
    return [NIL, *(move for move in shown if world.may_prevote(lock, move[0], move[1]))]


def precommit_moves(polkas: list[Polka]) -> list[Move]:
    """U4, U5 and T2: nil, or a value whose polka of this round is shown."""
    return [NIL, *((value, vr) for _, value, vr in polkas)]


def rounds_after(world: World, history: History) -> Iterator[tuple[Round, bool]]:
    """Yield all that correct voters can sign in the next round, and whether that convicts one (E2)."""
    earlier = [polka for round_, (said, _) in enumerate(history) for polka in polkas_of(world, round_, said)]
    voters = range(len(world.correct))
    for prevotes in product(*(prevote_moves(world, history, earlier, voter) for voter in voters)):
        is_framed = any(is_amnesiac(history, voter, prevotes[voter]) for voter in voters)
        now = precommit_moves(polkas_of(world, len(history), prevotes))
        for precommits in product(now, repeat=len(world.correct)):
            yield (prevotes, precommits), is_framed


def is_amnesiac(history: History, voter: int, prevote: Move) -> bool:
    """Answer whether this prevote and an earlier precommit are E2; no move is a second vote of one place."""
    return bool(prevote) and any(
        said[voter] and prevote[1] < round_ for round_, (_, said) in enumerate(history)
    )


def commits_of(world: World, history: History) -> list[Cert]:
    return [
        ("commit", round_, claim[0], -1, voters)
        for round_, (_, precommits) in enumerate(history)
        for claim, voters in signers_of(precommits).items()
        if world.can_complete(voters)
    ]


def used_polkas(history: History) -> list[Cert]:
    """Return the polkas that correct voters acted on, so that they hold them; nobody needs to keep others."""
    used: set[Polka] = set()
    for round_, (prevotes, precommits) in enumerate(history):
        used |= {(move[1], move[0], move[2]) for move in prevotes if move and move[1] >= 0}
        used |= {(round_, *move) for move in precommits if move}  # type: ignore[misc]
    said = [signers_of(prevotes) for prevotes, _ in history]
    return [("polka", *polka, said[polka[0]][polka[1:]]) for polka in sorted(used)]


def contradict(one: Cert, other: Cert) -> bool:
    """Answer whether whoever signed both is guilty of E1 or E2."""
    if one[0] == other[0]:
        return one[1] == other[1] and one[2:4] != other[2:4]
    commit, polka = (one, other) if one[0] == "commit" else (other, one)
    return polka[3] < commit[1] < polka[1]


def convicted_power(world: World, certs: Sequence[Cert]) -> int:
    """Return the power of liars that a contradicting pair convicts, however they shared the signing.

    The best pair counts: what the others add is left out, so this is a lower bound.
    """
    best = 0
    for one, other in combinations(certs, 2):
        if contradict(one, other):
            common = (
                sum(world.liars[liar] for liar in first & second)
                for first in world.completions(one[4])
                for second in world.completions(other[4])
            )
            best = max(best, min(common))
    return best


def disagreements(commits: list[Cert]) -> list[tuple[Cert, Cert]]:
    """Return the pairs of commit certificates for different values."""
    return [(one, other) for one, other in combinations(commits, 2) if one[2] != other[2]]
