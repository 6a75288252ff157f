"""Headers that nobody signs who follows one chain: who is convicted of which, and who never is."""

from __future__ import annotations

from itertools import product

import pytest
from msgspec.structs import replace
from support.chain import NO_SIGNATURE, World
from support.light import RULES, LightChain, blank_header, certified, member, powers_to_set

from p2pfed.chain.attack import DERIVED, attacks, is_contradiction, verify_attack
from p2pfed.chain.evidence import conviction_of
from p2pfed.errors import MalformedMessage, OutOfBounds, PeerFault
from p2pfed.ledger.module import Offence
from p2pfed.primitives import codec
from p2pfed.primitives.digest import sha256
from p2pfed.types.block import Header
from p2pfed.types.evidence import LightClientAttack
from p2pfed.types.vote import Precommit

WORLD = World([10, 10, 10, 10])
FOUR = [(number, 10) for number in range(4)]
CHAIN = LightChain(lambda height: FOUR, step_ms=1)
OTHER = sha256(b"another")
# What the headers of one height of honest peers may differ in: a proposer's choice, or what is known when.
FREE = {"round0": 4, "time_ms": 9, "model_root": OTHER, "state_root": OTHER, "body_hash": OTHER, "flags": 1}


def culprits(*proofs: LightClientAttack) -> list[bytes]:
    return [proof.signer for proof in proofs]


@pytest.mark.parametrize("name", [*DERIVED, "prev_header_hash"])
def test_two_headers_that_do_not_go_together_convict_who_signed_both_in_any_rounds(name: str) -> None:
    proof = WORLD.attack(2, **{name: OTHER})
    conviction = conviction_of(WORLD.state, proof)
    assert (conviction.culprit, conviction.offence) == (WORLD.publics[2], Offence.LIGHT_CLIENT_ATTACK)


@pytest.mark.parametrize("name", FREE)
def test_what_two_proposals_of_one_parent_may_differ_in_convicts_nobody(name: str) -> None:
    """Who is unlocked by a polka precommits another value in a later round: that is honest."""
    with pytest.raises(MalformedMessage, match="may precommit in two rounds"):
        conviction_of(WORLD.state, WORLD.attack(2, **{name: FREE[name]}))


def test_other_parameters_than_those_of_genesis_convict_by_one_header() -> None:
    proof = WORLD.attack(1, params_hash=OTHER)
    headers = {proof.header: proof.precommit, proof.other_header: proof.other}
    for header, vote in headers.items():
        assert vote is not None
        alone = replace(proof, header=header, precommit=vote, other_header=b"", other=None)
        is_false = codec.decode(header, Header, 2048).params_hash == OTHER
        if is_false:
            assert conviction_of(WORLD.state, alone).culprit == WORLD.publics[1]
        else:
            with pytest.raises(MalformedMessage, match="parameters of genesis"):
                conviction_of(WORLD.state, alone)
    with pytest.raises(MalformedMessage, match="without its precommit"):
        verify_attack(replace(proof, other=None), WORLD.genesis)


def test_a_proof_holds_only_as_it_was_signed() -> None:
    proof = WORLD.attack(2)
    assert proof.other is not None
    swapped = replace(
        proof,
        header=proof.other_header,
        precommit=proof.other,
        other_header=proof.header,
        other=proof.precommit,
    )
    wrong = [
        swapped,
        replace(proof, signer=WORLD.publics[1]),
        replace(proof, other_header=proof.header),
        replace(proof, header=b"no header"),
        replace(proof, other=replace(proof.other, value_id=None)),
        replace(proof, other=replace(proof.other, round=9)),
        replace(proof, other_header=proof.header, other=proof.precommit),
    ]
    for false in wrong:
        with pytest.raises(PeerFault):
            verify_attack(false, WORLD.genesis)
    stranger = replace(proof, signer=member(77).public)
    with pytest.raises(OutOfBounds, match="no validator of height 1"):
        conviction_of(WORLD.state, stranger)


def test_headers_of_two_heights_or_of_another_network_prove_nothing() -> None:
    key = WORLD.keys[WORLD.publics[0]]
    base = replace(blank_header(), chain_id=WORLD.genesis.chain_id, params_hash=WORLD.genesis.params_hash)

    def signed(header: Header, height: int):
        vote = Precommit(height, 0, header.value_id, 0, NO_SIGNATURE)
        return codec.encode(header), WORLD.sign(vote, key)

    def proof(*parts):
        (one, mine), (other, theirs) = sorted(parts, key=lambda part: codec.encode(part[1]))
        return LightClientAttack(key.public, one, mine, other, theirs)

    first = signed(replace(base, height=1), 1)
    with pytest.raises(MalformedMessage, match="heights"):
        verify_attack(proof(first, signed(replace(base, height=2, prev_header_hash=OTHER), 2)), WORLD.genesis)
    with pytest.raises(MalformedMessage, match="another header"):  # Votes of a height that the headers lack.
        verify_attack(
            proof(*(signed(replace(base, height=1, validators_hash=data), 2) for data in (OTHER, bytes(32)))),
            WORLD.genesis,
        )
    never_signed = codec.encode(replace(base, height=1, prev_header_hash=OTHER))
    with pytest.raises(MalformedMessage, match="another header"):
        verify_attack(
            proof(first, (never_signed, signed(replace(base, height=1, flags=1), 1)[1])), WORLD.genesis
        )
    foreign = signed(replace(base, height=1, chain_id=OTHER), 1)
    with pytest.raises(MalformedMessage, match="another header"):
        verify_attack(proof(first, foreign), WORLD.genesis)


def test_a_light_client_accuses_each_common_signer_once_whatever_the_rounds() -> None:
    """A false set of three, two of whom signed the real block too; it is decided in a later round."""
    own = [(1, 10), (2, 10), (7, 1)]
    header = CHAIN.header(5, validators_hash=powers_to_set(own).hash)
    forged = certified(header, own, CHAIN.validators(6), round_=2)
    found = attacks(CHAIN.block(5, signers=(0, 1, 2)), forged, RULES.params_hash)
    assert culprits(*found) == sorted(member(number).public for number in (1, 2))
    assert attacks(forged, CHAIN.block(5, signers=(0, 1, 2)), RULES.params_hash) == found
    false = certified(CHAIN.header(5, params_hash=OTHER), FOUR, CHAIN.validators(6), signers=(1, 2, 3))
    found = attacks(CHAIN.block(5, signers=(0, 1, 2)), false, RULES.params_hash)
    assert culprits(*found) == sorted(member(number).public for number in (1, 2, 3))
    assert all(proof.other is None for proof in found)


def test_of_a_fork_nobody_honest_signed_two_headers_that_contradict_each_other() -> None:
    """On each branch an honest peer precommits headers of one parent, with the sets of that parent."""
    base = replace(blank_header(), height=7)
    branches = [(sha256(b"parent of " + name), sha256(b"set after " + name)) for name in (b"a", b"b")]
    headers = [
        [
            replace(
                base, prev_header_hash=parent, next_validators_hash=following, round0=round0, model_root=model
            )
            for round0, model in product((0, 3), (OTHER, base.model_root))
        ]
        for parent, following in branches
    ]
    for own in headers:
        assert not any(is_contradiction(first, second) for first, second in product(own, repeat=2))
    assert all(is_contradiction(first, second) for first, second in product(*headers))
