"""Decide what a piece of evidence proves against whom, at the state of this chain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from p2pfed.chain.attack import verify_attack
from p2pfed.chain.form import payload_form
from p2pfed.chain.invalid_update import verify_invalid_update
from p2pfed.chain.state import ChainState
from p2pfed.consensus.evidence import accused_index, in_order, verify_evidence
from p2pfed.errors import BadSignature, MalformedMessage, OutOfBounds, WrongHeight
from p2pfed.ledger.module import Convict, Offence
from p2pfed.primitives import codec
from p2pfed.types.evidence import (
    Amnesia,
    DuplicateAvail,
    DuplicateProposal,
    DuplicateUpdate,
    DuplicateVote,
    Evidence,
    InvalidUpdate,
    LightClientAttack,
)
from p2pfed.types.update import UpdateHeader
from p2pfed.types.validators import ValidatorSet

_OFFENCES: Mapping[type[Any], Offence] = {
    DuplicateVote: Offence.DUPLICATE_VOTE,
    Amnesia: Offence.AMNESIA,
    LightClientAttack: Offence.LIGHT_CLIENT_ATTACK,
    DuplicateProposal: Offence.DUPLICATE_PROPOSAL,
    InvalidUpdate: Offence.INVALID_UPDATE,
    DuplicateUpdate: Offence.DUPLICATE_UPDATE,
    DuplicateAvail: Offence.DUPLICATE_AVAIL,
}


def is_timely(state: ChainState, evidence: Evidence) -> bool:
    """Answer whether the next block may carry it: not from the future, and not older than sets are kept."""
    return state.oldest_evidence <= evidence.height <= state.next_height


def accusation_of(state: ChainState, evidence: Evidence) -> Convict:
    """Return what timely evidence claims; no signature and no content is checked.

    Raises:
        OutOfBounds: It accuses nobody whom this network knows.
    """
    if isinstance(evidence, InvalidUpdate | DuplicateUpdate):
        trainer = _first_update(evidence).trainer
        return trainer_accusation(state, trainer, _OFFENCES[type(evidence)], evidence.height)
    validators = _validators(state, evidence)
    if isinstance(evidence, LightClientAttack):
        place = validators.index_of(evidence.signer)
        if place is None:
            raise OutOfBounds(f"{evidence.signer.hex()[:12]}… was no validator of height {evidence.height}")
    else:
        place = accused_index(evidence)
        if place >= len(validators):
            raise OutOfBounds(f"validator {place} of {len(validators)}")
    accused = validators.validators[place]
    offence = _OFFENCES[type(evidence)]
    return Convict(accused.key, offence, evidence.height, accused.power, validators.total_power)


def trainer_accusation(state: ChainState, trainer: bytes, offence: Offence, height: int) -> Convict:
    """Return what a lie in the updates of `height` is about: shares are of all who had power then.

    Raises:
        OutOfBounds: It had none.
    """
    members = state.members_at(height)
    assert members is not None  # They are kept as long as evidence is timely.
    power = next((member.power for member in members if member.key == trainer), 0)
    if not power:
        raise OutOfBounds(f"{trainer.hex()[:12]}… was no participant of height {height}")
    return Convict(trainer, offence, height, power, sum(member.power for member in members))


def conviction_of(state: ChainState, evidence: Evidence) -> Convict:
    """Return what one piece of evidence proves.

    Raises:
        WrongHeight: Not timely.
        PeerFault: It proves nothing.
    """
    if not is_timely(state, evidence):
        raise WrongHeight(
            f"evidence of height {evidence.height}; "
            f"heights {state.oldest_evidence} to {state.next_height} count"
        )
    accusation = accusation_of(state, evidence)
    match evidence:
        case InvalidUpdate():
            verify_invalid_update(evidence, payload_form(state.genesis))
            _verify_signed(evidence.update, state.chain_id)
        case DuplicateUpdate():
            _verify_duplicate_update(evidence, state.chain_id)
        case LightClientAttack():
            verify_attack(evidence, state.genesis)
        case _:
            verify_evidence(evidence, _validators(state, evidence), state.chain_id)
    return accusation


def duplicate_update(first: UpdateHeader, second: UpdateHeader) -> DuplicateUpdate:
    """Return the E6 evidence of two verified updates of one trainer and base height."""
    assert (first.trainer, first.base_height) == (second.trainer, second.base_height)
    assert first.update_id != second.update_id
    return DuplicateUpdate(*in_order(first, second))


def _verify_duplicate_update(evidence: DuplicateUpdate, chain_id: bytes) -> None:
    """E6: an honest trainer signs one update for each base height, whatever happens to it."""
    first, second = evidence.first, evidence.second
    places = [(update.trainer, update.base_height) for update in (first, second)]
    if places[0] != places[1]:
        raise MalformedMessage("two updates of different trainers or base heights")
    if first.update_id == second.update_id:
        raise MalformedMessage("both updates are the same")
    if codec.encode(first) >= codec.encode(second):
        raise MalformedMessage("evidence is not in canonical order")
    for update in (first, second):
        _verify_signed(update, chain_id)


def _verify_signed(update: UpdateHeader, chain_id: bytes) -> None:
    if not update.is_signed_by(update.trainer, chain_id):
        raise BadSignature(f"update of {update.trainer.hex()[:12]}…")


def _first_update(evidence: InvalidUpdate | DuplicateUpdate) -> UpdateHeader:
    return evidence.update if isinstance(evidence, InvalidUpdate) else evidence.first


def _validators(state: ChainState, evidence: Evidence) -> ValidatorSet:
    validators = state.validators_at(evidence.height)
    assert validators is not None  # Sets are kept as long as evidence is timely.
    return validators
