"""Keep the verified votes of one height, count them by stake, and keep the certificates they make.

At most the first two distinct votes per sender, kind and round are kept: two prove the lie, more add nothing.
A further one counts only inside a certificate. Where any value counts, a sender counts once.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct, field

from p2pfed.consensus.amnesia import AmnesiaWatch
from p2pfed.consensus.certificates import commit_cert, polka_cert, precommits_of, prevotes_of
from p2pfed.consensus.evidence import Claim, claim_of, duplicate_vote
from p2pfed.consensus.quorum import has_honest_voice, has_quorum
from p2pfed.types.bitmap import bitmap_of, indices_of
from p2pfed.types.certificate import CommitCert, PolkaCert
from p2pfed.types.evidence import Amnesia, DuplicateVote
from p2pfed.types.params import ROUND_MAX
from p2pfed.types.validators import ValidatorSet
from p2pfed.types.vote import Precommit, Prevote, Vote
from p2pfed.types.wire import RoundVotes

_VOTES_PER_SENDER_MAX = 2
_NIL: Claim = (None, -1)

Lie = DuplicateVote | Amnesia


class _Tally(Struct):
    """The votes of one kind in one round; powers by claim and of all senders."""

    votes: dict[int, tuple[Vote, ...]] = field(default_factory=dict)
    power_by_claim: dict[Claim, int] = field(default_factory=dict)
    power: int = 0


class _Round(Struct):
    prevotes: _Tally = field(default_factory=_Tally)
    precommits: _Tally = field(default_factory=_Tally)
    voice: int = 0  # Power of all who voted at all here; each sender once.

    def tally_of(self, kind: type[Vote]) -> _Tally:
        return self.prevotes if kind is Prevote else self.precommits


class VoteKeeper:
    """Tallies of one height. Everything put in is verified already."""

    def __init__(self, validators: ValidatorSet) -> None:
        self._validators = validators
        self._rounds: dict[int, _Round] = {}
        self._polkas: dict[tuple[int, bytes, int], PolkaCert] = {}
        self._commits: dict[tuple[int, bytes], CommitCert] = {}
        self._count = 0
        self._crossings = 0  # Thresholds that votes passed so far.
        self._watch = AmnesiaWatch()

    def __len__(self) -> int:
        """How many votes are held."""
        return self._count

    @property
    def changes(self) -> int:
        """A number that grows whenever an answer below does that a rule may ask for; most votes leave it."""
        return self._crossings + len(self._polkas) + len(self._commits)

    def snapshot(self) -> tuple[object, ...]:
        """Return every vote and certificate held, as plain values in one order."""
        tallies = [(round_, held.prevotes, held.precommits) for round_, held in sorted(self._rounds.items())]
        votes = [
            (round_, sorted(pre.votes.items()), sorted(com.votes.items())) for round_, pre, com in tallies
        ]
        return votes, sorted(self._polkas.items()), list(self._commits.items())

    def has(self, vote: Vote) -> bool:
        """Answer whether `vote` would add nothing: its claim is held, or two others of its sender are."""
        votes = self._votes_like(vote)
        if not votes:
            return False
        return len(votes) == _VOTES_PER_SENDER_MAX or any(claim_of(held) == claim_of(vote) for held in votes)

    def add(self, vote: Vote) -> tuple[Lie, ...]:
        """Count a verified vote; return the evidence where it contradicts what is held of its sender."""
        earlier = self._votes_like(vote)
        if earlier and self.has(vote):
            return ()
        round_ = self._rounds.setdefault(vote.round, _Round())
        tally, claim, index = round_.tally_of(type(vote)), claim_of(vote), vote.validator_index
        power = self._validators.validators[index].power
        if index not in round_.prevotes.votes and index not in round_.precommits.votes:
            self._cross(has_honest_voice, round_.voice, power)
            round_.voice += power
        if not earlier:
            self._cross(has_quorum, tally.power, power)
            tally.power += power
        tally.votes[index] = (*earlier, vote)
        self._count += 1
        power_before = tally.power_by_claim.get(claim, 0)
        self._cross(has_quorum, power_before, power)
        tally.power_by_claim[claim] = power_before + power
        if claim != _NIL and self._is_quorum(tally.power_by_claim[claim]):
            self._certify(vote, tally)
        forgotten = self._watch.add(vote)
        lies: tuple[Lie, ...] = (duplicate_vote(earlier[0], vote),) if earlier else ()
        return lies if forgotten is None else (*lies, forgotten)

    def add_polka(self, cert: PolkaCert) -> tuple[Lie, ...]:
        """Keep a verified certificate and count its votes; return the lies it uncovers."""
        self._polkas.setdefault((cert.round, cert.value_id, cert.valid_round), cert)
        return self._add_all(prevotes_of(cert, self._validators))

    def add_commit(self, cert: CommitCert) -> tuple[Lie, ...]:
        """Keep a verified certificate and count its votes; return the lies it uncovers."""
        self._commits.setdefault((cert.round, cert.value_id), cert)
        return self._add_all(precommits_of(cert, self._validators))

    def has_quorum_of_any(self, kind: type[Vote], round_: int) -> bool:
        """Answer whether a quorum sent a vote of `kind` in this round, whatever it says."""
        held = self._rounds.get(round_)
        return held is not None and self._is_quorum(held.tally_of(kind).power)

    def has_nil_polka(self, round_: int) -> bool:
        """Answer whether a quorum prevoted nil."""
        held = self._rounds.get(round_)
        return held is not None and self._is_quorum(held.prevotes.power_by_claim.get(_NIL, 0))

    def polka(self, round_: int, value_id: bytes, valid_round: int | None = None) -> PolkaCert | None:
        """Return the polka for this value, with this valid round (None: with any, the smallest)."""
        if valid_round is not None:
            return self._polkas.get((round_, value_id, valid_round))
        keys = [key for key in self._polkas if key[:2] == (round_, value_id)]
        return self._polkas[min(keys)] if keys else None

    @property
    def polkas(self) -> tuple[PolkaCert, ...]:
        """Every polka formed or received, ascending by round."""
        return tuple(self._polkas[key] for key in sorted(self._polkas))

    @property
    def commits(self) -> tuple[CommitCert, ...]:
        """Every commit certificate formed or received, in order of arrival."""
        return tuple(self._commits.values())

    def round_ahead(self, round_: int, round_max: int = ROUND_MAX) -> int | None:
        """Return the largest round above `round_`, at most `round_max`, in which more than a third voted."""
        total = self._validators.total_power
        ahead = [
            later
            for later, held in self._rounds.items()
            if round_ < later <= round_max and has_honest_voice(held.voice, total)
        ]
        return max(ahead, default=None)

    def summary(self, round_: int, *, has_proposal: bool) -> RoundVotes:
        """Return whose votes of a round are held, for a gossip digest."""
        held, size = self._rounds.get(round_, _Round()), len(self._validators)
        prevotes, precommits = (bitmap_of(tally.votes, size) for tally in (held.prevotes, held.precommits))
        return RoundVotes(round_, prevotes, precommits, has_proposal)

    def missing(self, theirs: RoundVotes) -> tuple[Vote, ...]:
        """Return votes of senders that a peer lacks, by its own word; the first held of each sender.

        Raises:
            MalformedMessage: A bitmap is not one over these validators.
        """
        held, size = self._rounds.get(theirs.round, _Round()), len(self._validators)
        lacking: list[Vote] = []
        for tally, bitmap in ((held.prevotes, theirs.prevotes), (held.precommits, theirs.precommits)):
            known = frozenset(indices_of(bitmap, size))
            lacking += [tally.votes[index][0] for index in sorted(tally.votes) if index not in known]
        return tuple(lacking)

    def first_votes(self, round_: int) -> tuple[Vote, ...]:
        """Return all votes of a round, the first held of each sender and kind."""
        nobody = bitmap_of((), len(self._validators))
        return self.missing(RoundVotes(round_, nobody, nobody, has_proposal=False))

    def _votes_like(self, vote: Vote) -> tuple[Vote, ...]:
        held = self._rounds.get(vote.round)
        return () if held is None else held.tally_of(type(vote)).votes.get(vote.validator_index, ())

    def _add_all(self, votes: tuple[Vote, ...]) -> tuple[Lie, ...]:
        return tuple(lie for vote in votes for lie in self.add(vote))

    def _cross(self, threshold: Callable[[int, int], bool], before: int, added: int) -> None:
        """Note where `added` power passes a threshold."""
        total = self._validators.total_power
        if threshold(before + added, total) and not threshold(before, total):
            self._crossings += 1

    def _is_quorum(self, power: int) -> bool:
        return has_quorum(power, self._validators.total_power)

    def _certify(self, vote: Vote, tally: _Tally) -> None:
        """Make the certificate of this vote's claim, once: the first quorum is as good as any larger one."""
        assert vote.value_id is not None
        alike = [held for votes in tally.votes.values() for held in votes if claim_of(held) == claim_of(vote)]
        if isinstance(vote, Prevote):
            key = (vote.round, vote.value_id, vote.valid_round)
            if key not in self._polkas:
                self._polkas[key] = polka_cert((v for v in alike if isinstance(v, Prevote)), self._validators)
        elif (vote.round, vote.value_id) not in self._commits:
            cert = commit_cert((v for v in alike if isinstance(v, Precommit)), self._validators)
            self._commits[vote.round, vote.value_id] = cert
