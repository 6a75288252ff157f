"""Pay for work: what the last updates scored, what each key has earned so far, and what may still be created.

Only in networks whose genesis has an emission; elsewhere this slice is empty and stands nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec

from p2pfed.ledger.module import Context, Credit, Payload, Reward
from p2pfed.primitives import codec
from p2pfed.types.message import Amount, Message, PublicKey
from p2pfed.types.params import PARTICIPANTS_MAX, UPDATES_MAX
from p2pfed.types.scores import ScoreValue, Sketch

name = "contribution"

TRAINERS_PERCENT, VOTERS_PERCENT, PROPOSER_PERCENT = 70, 20, 5  # Of the emission; the rest is not created.


class Standing(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What `key` has been paid for its work so far, and what its last update scored, in units of 2^-16."""

    key: PublicKey
    earned: Amount
    score: ScoreValue


class ContributionState(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Standings in ascending order of key.

    past: The sketches of the last height that merged: of its aggregate, then of its updates.
    left: How much may still be created, so that all there is stays below the limit of stake.
    """

    standings: Annotated[tuple[Standing, ...], msgspec.Meta(max_length=PARTICIPANTS_MAX)] = ()
    past: Annotated[tuple[Sketch, ...], msgspec.Meta(max_length=1 + UPDATES_MAX)] = ()
    left: Amount = 0

    def standing(self, key: bytes) -> Standing | None:
        """Return the standing of `key`, None where it has none yet."""
        return next((standing for standing in self.standings if standing.key == key), None)


def execute(
    payload: Reward, context: Context, state: ContributionState
) -> tuple[ContributionState, tuple[Payload, ...]]:
    """Note what the updates of a height scored, and pay trainers, voters and the proposer (K8 to K11)."""
    pay = payments(payload, context.params.emission, context.proposer)
    if sum(pay.values()) > state.left:
        pay = {}
    known = {standing.key: standing for standing in state.standings}
    for key, amount in pay.items():
        before = known.get(key, Standing(key, 0, 0))
        known[key] = msgspec.structs.replace(before, earned=before.earned + amount)
    for key, value in payload.scores:
        before = known.get(key, Standing(key, 0, 0))
        known[key] = msgspec.structs.replace(before, score=value)
    after = ContributionState(
        tuple(known[key] for key in sorted(known)),
        payload.sketches or state.past,
        state.left - sum(pay.values()),
    )
    return after, tuple(Credit(key, amount) for key, amount in sorted(pay.items()))


def end_block(context: Context, state: ContributionState) -> tuple[ContributionState, tuple[Payload, ...]]:  # noqa: ARG001
    """Nothing falls due at the end of a block."""
    return state, ()


def leaves(state: ContributionState) -> Iterator[tuple[bytes, bytes]]:
    """Yield one leaf a standing under its key, one a sketch by its place, and what is left."""
    if state == ContributionState():
        return
    yield b"left", codec.encode(state.left)
    for place, sketch in enumerate(state.past):
        yield b"past" + place.to_bytes(2, "big"), codec.encode(sketch)
    for standing in state.standings:
        yield standing.key, codec.encode(standing)


def payments(reward: Reward, emission: int, proposer: bytes) -> dict[bytes, int]:
    """Return what each key is paid for a block, without those that get nothing.

    What nobody earns is not created: so nobody gains by keeping others from their pay.
    """
    pay: dict[bytes, int] = {}

    def add(key: bytes, amount: int) -> None:
        if amount:
            pay[key] = pay.get(key, 0) + amount

    trainers, voters = emission * TRAINERS_PERCENT // 100, emission * VOTERS_PERCENT // 100
    bonds = dict(reward.trainers)
    whole = sum(bonds.values())
    for key, value in reward.scores:
        add(key, trainers * bonds[key] * value // (whole << 16))
    for voted, everybody in (reward.available, reward.committed):
        total = sum(power for _, power in everybody)
        power_voted = 0
        for key, power in everybody:
            if key in voted:
                add(key, voters * power // (2 * total))
                power_voted += power
        if total:
            share = max(0, 3 * power_voted - 2 * total)
            add(proposer, emission * PROPOSER_PERCENT // 100 * share // (2 * total))
    return pay
