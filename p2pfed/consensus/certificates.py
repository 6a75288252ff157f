"""Build certificates from votes, take them apart, and check them."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Sequence
from typing import TypeVar

from p2pfed.consensus.quorum import has_quorum
from p2pfed.errors import BadSignature, InvalidCertificate, MalformedMessage
from p2pfed.types.bitmap import bitmap_of, indices_of
from p2pfed.types.certificate import CommitCert, PolkaCert
from p2pfed.types.message import SignatureCheck, SignedMessage
from p2pfed.types.validators import ValidatorSet
from p2pfed.types.vote import Precommit, Prevote, Vote

AnyVote = TypeVar("AnyVote", Prevote, Precommit)


def polka_cert(votes: Iterable[Prevote], validators: ValidatorSet) -> PolkaCert:
    """Return the certificate of `votes`: a quorum of equal, verified prevotes of distinct validators."""
    first, bitmap, signatures = _merged(votes, validators)
    assert first.value_id is not None
    return PolkaCert(first.height, first.round, first.value_id, first.valid_round, bitmap, signatures)


def commit_cert(votes: Iterable[Precommit], validators: ValidatorSet) -> CommitCert:
    """Return the certificate of `votes`: a quorum of equal, verified precommits of distinct validators."""
    first, bitmap, signatures = _merged(votes, validators)
    assert first.value_id is not None
    return CommitCert(first.height, first.round, first.value_id, bitmap, signatures)


def joined(
    cert: CommitCert,
    vote: Precommit,
    validators: ValidatorSet,
    chain_id: bytes,
    is_signed_by: SignatureCheck = SignedMessage.is_signed_by,
) -> CommitCert | None:
    """Return a verified `cert` with a precommit that came after the decision; None where it adds nothing.

    Raises:
        BadSignature: Nobody honest sends it.
    """
    index = vote.validator_index
    is_of_it = (vote.height, vote.round, vote.value_id) == (cert.height, cert.round, cert.value_id)
    if not is_of_it or index >= len(validators) or cert.bitmap[index >> 3] >> (index & 7) & 1:
        return None
    if not is_signed_by(vote, validators.validators[vote.validator_index].key, chain_id):
        raise BadSignature(f"precommit of validator {vote.validator_index}")
    indices, signatures = indices_of(cert.bitmap, len(validators)), cert.signatures
    place = bisect(indices, index)
    return CommitCert(
        *(cert.height, cert.round, cert.value_id),
        bitmap_of((*indices, index), len(validators)),
        (*signatures[:place], vote.signature, *signatures[place:]),
    )


def prevotes_of(cert: PolkaCert, validators: ValidatorSet) -> tuple[Prevote, ...]:
    """Return the prevotes inside `cert`; raises InvalidCertificate where it has no such shape."""
    if cert.valid_round >= cert.round:
        raise InvalidCertificate(f"valid round {cert.valid_round} of a polka of round {cert.round}")
    place = cert.height, cert.round, cert.value_id, cert.valid_round
    return tuple([Prevote(*place, index, signature) for index, signature in _signers(cert, validators)])


def precommits_of(cert: CommitCert, validators: ValidatorSet) -> tuple[Precommit, ...]:
    """Return the precommits inside `cert`; raises InvalidCertificate where it has no such shape."""
    place = cert.height, cert.round, cert.value_id
    return tuple([Precommit(*place, index, signature) for index, signature in _signers(cert, validators)])


def verify_polka(
    cert: PolkaCert,
    validators: ValidatorSet,
    chain_id: bytes,
    is_signed_by: SignatureCheck = SignedMessage.is_signed_by,
) -> None:
    """Raise InvalidCertificate unless `cert` holds valid prevotes of a quorum of `validators`.

    `validators` is the set of `cert.height`; whether that height is wanted is the caller's question.
    """
    _verify_votes(prevotes_of(cert, validators), validators, chain_id, is_signed_by)


def verify_commit(
    cert: CommitCert,
    validators: ValidatorSet,
    chain_id: bytes,
    is_signed_by: SignatureCheck = SignedMessage.is_signed_by,
) -> None:
    """Raise InvalidCertificate unless `cert` holds valid precommits of a quorum of `validators`."""
    _verify_votes(precommits_of(cert, validators), validators, chain_id, is_signed_by)


def _merged(votes: Iterable[AnyVote], validators: ValidatorSet) -> tuple[AnyVote, bytes, tuple[bytes, ...]]:
    """Return one of `votes`, the bitmap of their senders and their signatures ascending by sender."""
    ordered = sorted(votes, key=_index)
    indices, meaning = [vote.validator_index for vote in ordered], _meaning(ordered[0])
    assert len(frozenset(indices)) == len(indices)
    assert has_quorum(validators.power_of(indices), validators.total_power)
    assert [_meaning(vote) for vote in ordered].count(meaning) == len(ordered)
    bitmap = bitmap_of(indices, len(validators))
    return ordered[0], bitmap, tuple([vote.signature for vote in ordered])


def _index(vote: Vote) -> int:
    return vote.validator_index


def _meaning(vote: Vote) -> tuple[object, ...]:
    return vote.height, vote.round, vote.value_id, vote.valid_round


def _signers(cert: PolkaCert | CommitCert, validators: ValidatorSet) -> list[tuple[int, bytes]]:
    """Return (index, signature) pairs of a quorum; nothing is verified but the power."""
    try:
        indices = indices_of(cert.bitmap, len(validators))
    except MalformedMessage as error:
        raise InvalidCertificate(str(error)) from None
    if len(indices) != len(cert.signatures):
        raise InvalidCertificate(f"{len(cert.signatures)} signatures of {len(indices)} signers")
    power, total = validators.power_of(indices), validators.total_power
    if not has_quorum(power, total):
        raise InvalidCertificate(f"signers hold {power} of {total}, not more than two thirds")
    return list(zip(indices, cert.signatures, strict=True))


def _verify_votes(
    votes: Sequence[Vote], validators: ValidatorSet, chain_id: bytes, is_signed_by: SignatureCheck
) -> None:
    for vote in votes:
        if not is_signed_by(vote, validators.validators[vote.validator_index].key, chain_id):
            raise InvalidCertificate(f"the signature of validator {vote.validator_index} does not verify")
