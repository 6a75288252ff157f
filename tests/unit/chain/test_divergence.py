"""What two final blocks of one height prove: who signed both, and in which of three ways they came about."""

from __future__ import annotations

from itertools import combinations, product

import pytest
from support.light import CHAIN_ID, RULES, LightChain, certified, follow, member, powers_to_set
from support.light import START_MS as NOW_MS

from p2pfed.chain.divergence import Kind, divergence
from p2pfed.consensus.evidence import verify_evidence
from p2pfed.types.evidence import LightClientAttack

FOUR = [(number, 10) for number in range(4)]
CHAIN = LightChain(lambda height: FOUR, step_ms=1)


def keys(*numbers: int) -> tuple[bytes, ...]:
    return tuple(sorted(member(number).public for number in numbers))


def test_two_certificates_of_one_round_convict_who_signed_both() -> None:
    real = CHAIN.block(5, signers=(0, 1, 2))
    forged = CHAIN.block(5, signers=(1, 2, 3), model_root=bytes(32))
    found = divergence(CHAIN.genesis, real, forged, RULES.params_hash)
    assert (found.kind, found.common_signers) == (Kind.EQUIVOCATION, keys(1, 2))
    assert (found.first_signers, found.second_signers) == (keys(0, 1, 2), keys(1, 2, 3))
    culprits = [verify_evidence(item, real.validators, CHAIN_ID) for item in found.evidence]
    assert tuple(real.validators.validators[index].key for index in culprits) == keys(1, 2)
    assert 3 * real.validators.power_of(culprits) > real.validators.total_power


def test_any_two_quorums_of_one_round_convict_more_than_a_third() -> None:
    quorums = [signers for size in (3, 4) for signers in combinations(range(4), size)]
    for mine, theirs in product(quorums, repeat=2):
        forged = CHAIN.block(5, signers=theirs, model_root=bytes(32))
        found = divergence(CHAIN.genesis, CHAIN.block(5, signers=mine), forged, RULES.params_hash)
        assert 3 * len(found.common_signers) > 4
        assert len(found.evidence) == len(found.common_signers)


def test_certificates_of_two_rounds_name_who_signed_both_and_leave_the_rest_to_polkas() -> None:
    header = CHAIN.header(5, model_root=bytes(32))
    later = certified(header, FOUR, CHAIN.validators(6), signers=(1, 2, 3), round_=2)
    found = divergence(CHAIN.genesis, CHAIN.block(5, signers=(0, 1, 2)), later, RULES.params_hash)
    assert (found.kind, found.evidence, found.common_signers) == (Kind.AMNESIA, (), keys(1, 2))


@pytest.mark.parametrize("name", ["validators_hash", "next_validators_hash", "params_hash"])
def test_a_header_with_a_field_that_no_correct_peer_computes_is_lunatic(name: str) -> None:
    """Two of the set that is trusted sign for a set of their own."""
    own = [(1, 10), (2, 10), (7, 1)]
    changes = {"validators_hash": powers_to_set(own).hash} | (
        {} if name == "validators_hash" else {name: powers_to_set(FOUR[:2]).hash}
    )
    next_set = powers_to_set(FOUR[:2]) if name == "next_validators_hash" else CHAIN.validators(6)
    forged = certified(CHAIN.header(5, **changes), own, next_set)
    trusted, _, _ = follow(lambda height: forged, CHAIN.genesis, 5, NOW_MS + 10)
    assert trusted.value_id == forged.header.value_id  # More than a third of the trusted set signed it.
    found = divergence(CHAIN.genesis, CHAIN.block(5), forged, RULES.params_hash)
    assert (found.kind, found.second_signers) == (Kind.LUNATIC, keys(1, 2))
    assert tuple(proof.signer for proof in found.evidence) == keys(
        1, 2
    )  # Of the false set's stranger nothing.


def test_parameters_that_genesis_does_not_name_are_lunatic_in_any_round() -> None:
    forged = CHAIN.block(5, signers=(1, 2, 3), params_hash=bytes(32))
    found = divergence(CHAIN.genesis, CHAIN.block(5), forged, RULES.params_hash)
    assert (found.kind, len(found.evidence)) == (Kind.LUNATIC, 3)  # In one round it is E1 as well.
    assert {type(proof) for proof in found.evidence} == {LightClientAttack}
