"""Keep the verified votes of one height, count them by stake, and keep the certificates they make.

At most the first two distinct votes per sender, kind and round are kept: two prove the lie, more add nothing.
A further one counts only inside a certificate. Where any value counts, a sender counts once.
"""

from __future__ import annotations

from msgspec import Struct, field

from p2pfed.consensus.amnesia import AmnesiaWatch
from p2pfed.consensus.certificates import AnyVote, commit_cert, polka_cert, precommits_of, prevotes_of
from p2pfed.consensus.evidence import Claim, claim_of, duplicate_vote
from p2pfed.consensus.quorum import has_honest_voice, has_quorum
from p2pfed.types.bitmap import bitmap_of, verify_bitmap
from p2pfed.types.certificate import CommitCert, PolkaCert
from p2pfed.types.evidence import Amnesia, DuplicateVote
from p2pfed.types.params import ROUND_MAX
from p2pfed.types.validators import ValidatorSet
from p2pfed.types.vote import Prevote, Vote
from p2pfed.types.wire import RoundVotes

_VOTES_PER_SENDER_MAX = 2
_NIL: Claim = (None, -1)

Lie = DuplicateVote | Amnesia


class _Tally(Struct):
    """The votes of one kind in one round; powers by claim and of all senders.

    A threshold that was passed stays passed, so it is asked for as long as it wasn't.
    """

    votes: dict[int, tuple[Vote, ...]] = field(default_factory=dict)
    power_by_claim: dict[Claim, int] = field(default_factory=dict)
    power: int = 0
    senders: int = 0  # Bit i: validator i sent one; little-endian, these are the bytes of a bitmap.
    has_quorum: bool = False  # Of any votes.
    has_nil_quorum: bool = False


class _Round(Struct):
    prevotes: _Tally = field(default_factory=_Tally)
    precommits: _Tally = field(default_factory=_Tally)
    voice: int = 0  # Power of all who voted at all here, each sender once, until it is more than a third.
    is_voiced: bool = False

    def tally_of(self, kind: type[Vote]) -> _Tally:
        return self.prevotes if kind is Prevote else self.precommits


class VoteKeeper:
    """Tallies of one height. Everything put in is verified already."""

    def __init__(self, validators: ValidatorSet) -> None:
        self._validators = validators
        self._total = validators.total_power
        self._rounds: dict[int, _Round] = {}
        self._polkas: dict[tuple[int, bytes, int], PolkaCert] = {}
        self._commits: dict[tuple[int, bytes], CommitCert] = {}
        self._count = 0
        self._voiced_max = -1  # The latest round in which more than a third voted.
        self._watch = AmnesiaWatch()
        self.polkas: tuple[PolkaCert, ...] = ()  # Every one formed or received, ascending by round.
        self.commits: tuple[CommitCert, ...] = ()  # ... in order of arrival.
        # A number that grows whenever an answer below does that a rule may ask for; most votes leave it.
        self.changes = 0

    def __len__(self) -> int:
        """How many votes are held."""
        return self._count

    def snapshot(self) -> tuple[object, ...]:
        """Return every vote and certificate held, as plain values in one order."""
        tallies = [(round_, held.prevotes, held.precommits) for round_, held in sorted(self._rounds.items())]
        votes = [
            (round_, sorted(pre.votes.items()), sorted(com.votes.items())) for round_, pre, com in tallies
        ]
        return votes, sorted(self._polkas.items()), list(self._commits.items())

    def has(self, vote: Vote) -> bool:
        """Answer whether `vote` would add nothing: its claim is held, or two others of its sender are."""
        round_ = self._rounds.get(vote.round)
        held = None if round_ is None else round_.tally_of(type(vote)).votes.get(vote.validator_index)
        return held is not None and _says_nothing_new(vote, held)

    def add(self, vote: Vote) -> tuple[Lie, ...]:
        """Count a verified vote; return the evidence where it contradicts what is held of its sender."""
        round_ = self._rounds.get(vote.round)
        if round_ is None:
            round_ = self._rounds[vote.round] = _Round()
        tally, index = round_.tally_of(type(vote)), vote.validator_index
        earlier = tally.votes.get(index, ())
        if earlier and _says_nothing_new(vote, earlier):
            return ()
        power = self._validators.validators[index].power
        self._count_voice(vote.round, index, power)
        tally.votes[index] = (*earlier, vote)
        self._count += 1
        if not earlier:
            tally.senders |= 1 << index
            self._count_any(tally, power)
        self._count_claim(tally, vote, power)
        forgotten = self._watch.add(vote)
        if earlier:
            duplicate = duplicate_vote(earlier[0], vote)
            return (duplicate,) if forgotten is None else (duplicate, forgotten)
        return () if forgotten is None else (forgotten,)

    def add_polka(self, cert: PolkaCert) -> tuple[Lie, ...]:
        """Keep a verified certificate and count its votes; return the lies it uncovers."""
        self._keep_polka(cert)
        return self._add_all(prevotes_of(cert, self._validators))

    def add_commit(self, cert: CommitCert) -> tuple[Lie, ...]:
        """Keep a verified certificate and count its votes; return the lies it uncovers."""
        self._keep_commit(cert)
        return self._add_all(precommits_of(cert, self._validators))

    def has_quorum_of_any(self, kind: type[Vote], round_: int) -> bool:
        """Answer whether a quorum sent a vote of `kind` in this round, whatever it says."""
        held = self._rounds.get(round_)
        return held is not None and held.tally_of(kind).has_quorum

    def has_nil_polka(self, round_: int) -> bool:
        """Answer whether a quorum prevoted nil."""
        held = self._rounds.get(round_)
        return held is not None and held.prevotes.has_nil_quorum

    def polka(self, round_: int, value_id: bytes, valid_round: int | None = None) -> PolkaCert | None:
        """Return the polka for this value, with this valid round (None: with any, the smallest)."""
        if valid_round is not None:
            return self._polkas.get((round_, value_id, valid_round))
        for cert in self.polkas:
            if cert.round == round_ and cert.value_id == value_id:
                return cert
        return None

    def round_ahead(self, round_: int, round_max: int = ROUND_MAX) -> int | None:
        """Return the largest round above `round_`, at most `round_max`, in which more than a third voted."""
        if self._voiced_max <= round_:
            return None
        return max(
            (r for r, held in self._rounds.items() if held.is_voiced and round_ < r <= round_max),
            default=None,
        )

    def summary(self, round_: int, *, has_proposal: bool) -> RoundVotes:
        """Return whose votes of a round are held, for a gossip digest."""
        held, size = self._rounds.get(round_) or _Round(), (len(self._validators) + 7) // 8
        prevotes, precommits = held.prevotes.senders, held.precommits.senders
        return RoundVotes(
            round_, prevotes.to_bytes(size, "little"), precommits.to_bytes(size, "little"), has_proposal
        )

    def missing(self, theirs: RoundVotes) -> tuple[Vote, ...]:
        """Return votes of senders that a peer lacks, by its own word; the first held of each sender.

        Raises:
            MalformedMessage: A bitmap is not one over these validators.
        """
        for bitmap in (theirs.prevotes, theirs.precommits):
            verify_bitmap(bitmap, len(self._validators))
        held = self._rounds.get(theirs.round)
        if held is None:
            return ()
        return (*_lacking(held.prevotes, theirs.prevotes), *_lacking(held.precommits, theirs.precommits))

    def first_votes(self, round_: int) -> tuple[Vote, ...]:
        """Return all votes of a round, the first held of each sender and kind."""
        nobody = bitmap_of((), len(self._validators))
        return self.missing(RoundVotes(round_, nobody, nobody, has_proposal=False))

    def _add_all(self, votes: tuple[Vote, ...]) -> tuple[Lie, ...]:
        return tuple([lie for vote in votes for lie in self.add(vote)])

    def _count_voice(self, number: int, index: int, power: int) -> None:
        """Called before the vote is kept: whoever has none in this round yet adds its power, once."""
        round_ = self._rounds[number]
        if round_.is_voiced or index in round_.prevotes.votes or index in round_.precommits.votes:
            return
        round_.voice += power
        if has_honest_voice(round_.voice, self._total):
            round_.is_voiced = True
            self._voiced_max = max(self._voiced_max, number)
            self.changes += 1

    def _count_any(self, tally: _Tally, power: int) -> None:
        tally.power += power
        if not tally.has_quorum and has_quorum(tally.power, self._total):
            tally.has_quorum = True
            self.changes += 1

    def _count_claim(self, tally: _Tally, vote: Vote, power: int) -> None:
        claim = claim_of(vote)
        claimed = tally.power_by_claim[claim] = tally.power_by_claim.get(claim, 0) + power
        if not has_quorum(claimed, self._total):
            return
        if claim != _NIL:
            self._certify(vote, tally)
        elif not tally.has_nil_quorum:
            tally.has_nil_quorum = True
            self.changes += 1

    def _certify(self, vote: Vote, tally: _Tally) -> None:
        """Make the certificate of this vote's claim, once: the first quorum is as good as any larger one."""
        assert vote.value_id is not None
        if type(vote) is Prevote:
            if (vote.round, vote.value_id, vote.valid_round) not in self._polkas:
                self._keep_polka(polka_cert(_alike(vote, tally), self._validators))
        elif (vote.round, vote.value_id) not in self._commits:
            self._keep_commit(commit_cert(_alike(vote, tally), self._validators))

    def _keep_polka(self, cert: PolkaCert) -> None:
        key = (cert.round, cert.value_id, cert.valid_round)
        if key not in self._polkas:
            self._polkas[key] = cert
            self.polkas = tuple(self._polkas[key] for key in sorted(self._polkas))
            self.changes += 1

    def _keep_commit(self, cert: CommitCert) -> None:
        key = (cert.round, cert.value_id)
        if key not in self._commits:
            self._commits[key] = cert
            self.commits = (*self.commits, cert)
            self.changes += 1


def _says_nothing_new(vote: Vote, held: tuple[Vote, ...]) -> bool:
    """Answer whether the votes `held` of its sender make `vote` superfluous."""
    if len(held) == _VOTES_PER_SENDER_MAX:
        return True
    claim = claim_of(vote)
    return any(claim_of(earlier) == claim for earlier in held)


def _lacking(tally: _Tally, bitmap: bytes) -> list[Vote]:
    """Return the first vote of each sender that `bitmap` lacks, ascending by sender."""
    lacking = tally.senders & ~int.from_bytes(bitmap, "little")
    return [tally.votes[index][0] for index in range(lacking.bit_length()) if lacking >> index & 1]


def _alike(vote: AnyVote, tally: _Tally) -> list[AnyVote]:
    """Return the votes of a tally that claim what `vote` does."""
    claim, kind = claim_of(vote), type(vote)
    return [
        held
        for votes in tally.votes.values()
        for held in votes
        if isinstance(held, kind) and claim_of(held) == claim
    ]
