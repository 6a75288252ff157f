"""Two final blocks of one height: what a light client can prove of the lie, and against whom (E4)."""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from p2pfed.chain.attack import DERIVED, attacks
from p2pfed.chain.light import Trusted
from p2pfed.consensus.certificates import precommits_of
from p2pfed.consensus.evidence import duplicate_vote
from p2pfed.types.evidence import DuplicateVote, LightClientAttack
from p2pfed.types.light import LightBlock


class Kind(Enum):
    """How two certificates of one height came about."""

    LUNATIC = "lunatic"  # One header has a derived field that no correct peer computes (E4).
    EQUIVOCATION = "equivocation"  # Both were decided in one round: who signed both voted twice (E1).
    AMNESIA = "amnesia"  # Decided in two rounds: a third forgot its lock; polkas of a full peer convict (E2).


class Divergence(Struct, frozen=True):
    """Two verified blocks of one height, and the last block that both of their chains share.

    Signers are those of the set that `common` hands over, ascending by key: as far as the light client knows
    they are still bonded.
    """

    common: Trusted
    first: LightBlock
    second: LightBlock
    kind: Kind
    first_signers: tuple[bytes, ...]
    second_signers: tuple[bytes, ...]
    evidence: tuple[DuplicateVote | LightClientAttack, ...]  # E1 or E4, ready for any peer.

    @property
    def common_signers(self) -> tuple[bytes, ...]:
        """Return who signed both, ascending."""
        return tuple(key for key in self.first_signers if key in self.second_signers)


def divergence(common: Trusted, first: LightBlock, second: LightBlock, params_hash: bytes) -> Divergence:
    """Return what two blocks prove that were both verified from `common`, at one height above it.

    `params_hash` is that of genesis. A key stands in one proof: E4 where there is one, else E1.
    """
    assert first.header.height == second.header.height > common.height
    assert first.header.value_id != second.header.value_id
    is_lunatic = any(getattr(first.header, name) != getattr(second.header, name) for name in DERIVED)
    is_one_round = first.commit.round == second.commit.round
    kind = Kind.LUNATIC if is_lunatic else Kind.EQUIVOCATION if is_one_round else Kind.AMNESIA
    known = common.next_validators  # Nobody else can be punished, and who tells of strangers is blamed.
    proofs = [one for one in attacks(first, second, params_hash) if known.index_of(one.signer) is not None]
    accused = frozenset(proof.signer for proof in proofs)
    twice = _double_votes(first, second) if is_one_round else ()
    places = first.validators.validators
    twice = tuple(vote for vote in twice if places[vote.first.validator_index].key not in accused)
    return Divergence(
        common,
        first,
        second,
        kind,
        _signers(common, first),
        _signers(common, second),
        (*proofs, *twice),
    )


def _signers(common: Trusted, block: LightBlock) -> tuple[bytes, ...]:
    votes = precommits_of(block.commit, block.validators)
    keys = (block.validators.validators[vote.validator_index].key for vote in votes)
    return tuple(key for key in keys if common.next_validators.index_of(key) is not None)


def _double_votes(first: LightBlock, second: LightBlock) -> tuple[DuplicateVote, ...]:
    """Return the pairs of precommits that one validator signed in one round, by index.

    Evidence names a validator by its index in the set of the height, so there is none where the sets differ.
    """
    if first.validators.hash != second.validators.hash:
        return ()
    others = {vote.validator_index: vote for vote in precommits_of(second.commit, second.validators)}
    votes = precommits_of(first.commit, first.validators)
    return tuple(
        duplicate_vote(vote, others[vote.validator_index]) for vote in votes if vote.validator_index in others
    )
