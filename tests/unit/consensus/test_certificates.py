"""Certificates: what makes one, and everything that is none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace
from support.consensus import CHAIN_ID, Committee

from p2pfed.consensus.certificates import (
    commit_cert,
    joined,
    polka_cert,
    precommits_of,
    prevotes_of,
    verify_commit,
    verify_polka,
)
from p2pfed.errors import BadSignature, InvalidCertificate
from p2pfed.primitives.digest import sha256
from p2pfed.types.certificate import CommitCert, PolkaCert

FOUR = Committee()
VALUE = sha256(b"value")
Cert = PolkaCert | CommitCert


def polka(names: str = "ABC") -> PolkaCert:
    return FOUR.polka(names, 3, VALUE, 1)


def commit(names: str = "ABC") -> CommitCert:
    return FOUR.commit(names, 3, VALUE)


def verify(cert: Cert, chain_id: bytes = CHAIN_ID, committee: Committee = FOUR) -> None:
    check = verify_polka if isinstance(cert, PolkaCert) else verify_commit
    check(cert, committee.validators, chain_id)


@pytest.mark.parametrize("make", [polka, commit])
def test_a_quorum_in_any_order_of_arrival_makes_one_certificate(make: Callable[[str], Cert]) -> None:
    assert make("ABD") == make("DAB")
    for names in ("ABC", "BCD", "ABCD"):
        verify(make(names))


def test_a_certificate_gives_its_votes_back() -> None:
    assert polka_cert(reversed(prevotes_of(polka(), FOUR.validators)), FOUR.validators) == polka()
    assert commit_cert(reversed(precommits_of(commit(), FOUR.validators)), FOUR.validators) == commit()


@pytest.mark.parametrize("make", [polka, commit])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda cert: replace(cert, signatures=cert.signatures[:-1]),
        lambda cert: replace(cert, signatures=(*cert.signatures, cert.signatures[0])),
        lambda cert: replace(cert, signatures=cert.signatures[::-1]),
        lambda cert: replace(cert, signatures=(*cert.signatures[:2], bytes(64))),
        lambda cert: replace(cert, bitmap=bytes([0b1111])),
        lambda cert: replace(cert, bitmap=bytes([cert.bitmap[0] | 0x10])),
        lambda cert: replace(cert, bitmap=cert.bitmap + b"\0"),
        lambda cert: replace(cert, bitmap=b""),
        lambda cert: replace(cert, value_id=sha256(b"other")),
        lambda cert: replace(cert, round=cert.round + 1),
        lambda cert: replace(cert, height=cert.height + 1),
    ],
)
def test_a_certificate_changed_in_any_field_is_refused(
    make: Callable[[], Cert], spoil: Callable[[Cert], Cert]
) -> None:
    verify(make())
    with pytest.raises(InvalidCertificate):
        verify(spoil(make()))


def test_the_valid_round_of_a_polka_is_signed_and_below_its_round() -> None:
    with pytest.raises(InvalidCertificate):
        verify(replace(polka(), valid_round=0))
    with pytest.raises(InvalidCertificate, match="valid round"):
        verify(FOUR.polka("ABC", 3, VALUE, 3))


def test_signatures_of_another_network_are_worth_nothing() -> None:
    for cert in (polka(), commit()):
        with pytest.raises(InvalidCertificate, match="does not verify"):
            verify(cert, chain_id=sha256(b"other"))


def test_exactly_two_thirds_are_no_quorum() -> None:
    three = Committee((1, 1, 1))
    full = three.commit("ABC", 0, VALUE)
    verify(full, committee=three)
    kept = full.signatures[:2]
    with pytest.raises(InvalidCertificate, match="2 of 3"):
        verify(replace(full, bitmap=b"\x03", signatures=kept), committee=three)


def test_power_counts_and_not_heads() -> None:
    rich = Committee((1, 1, 1, 9))
    name = next(rich.name(i) for i, v in enumerate(rich.validators.validators) if v.power == 9)
    verify(rich.commit(name, 0, VALUE), committee=rich)


def test_less_than_a_quorum_of_our_own_votes_is_our_bug() -> None:
    with pytest.raises(AssertionError):
        FOUR.polka("AB", 0, VALUE)
    with pytest.raises(AssertionError):
        FOUR.commit("AAB", 0, VALUE)
    with pytest.raises(AssertionError):
        polka_cert(
            [FOUR.prevote("A", 1, VALUE, 0), FOUR.prevote("B", 1, VALUE), FOUR.prevote("C", 1, VALUE)],
            FOUR.validators,
        )
    with pytest.raises(AssertionError):
        commit_cert([FOUR.precommit(name, 1, None) for name in "ABC"], FOUR.validators)


def test_a_precommit_that_comes_late_joins_the_certificate_of_its_value_once() -> None:
    late = FOUR.precommit("D", 3, VALUE)
    assert joined(commit(), late, FOUR.validators, CHAIN_ID) == commit("ABCD")
    for vote in (
        FOUR.precommit("D", 3, sha256(b"other")),
        FOUR.precommit("D", 2, VALUE),
        FOUR.precommit("A", 3, VALUE),
        replace(late, validator_index=4),
    ):
        assert joined(commit(), vote, FOUR.validators, CHAIN_ID) is None
    with pytest.raises(BadSignature):
        joined(commit(), replace(late, signature=bytes(64)), FOUR.validators, CHAIN_ID)
