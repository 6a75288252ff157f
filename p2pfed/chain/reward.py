"""Who is paid for a block: read from the block itself, so that nobody needs a payload to know."""

from __future__ import annotations

from collections.abc import Sequence

from p2pfed.chain.state import ChainState
from p2pfed.chain.update_set import UpdateSet
from p2pfed.ledger.module import Reward
from p2pfed.types.bitmap import indices_of
from p2pfed.types.block import Body
from p2pfed.types.validators import ValidatorSet


def reward_of(state: ChainState, body: Body, updates: UpdateSet) -> Reward | None:
    """Return who is paid for the next block, None where nobody ever is."""
    if not state.genesis.params.emission:
        return None
    scores = body.scores
    values = [score.value for score in scores.scores] if scores else []
    sketches = (scores.aggregate, *(score.sketch for score in scores.scores)) if scores else ()
    voters = state.validators
    available = _keys(voters, [entry.validator_index for entry in body.avails])
    committed: tuple[frozenset[bytes], tuple[tuple[bytes, int], ...]] = (frozenset(), ())
    if body.last_commit is not None:
        last = state.last_validators
        committed = _keys(last, indices_of(body.last_commit.bitmap, len(last))), _pairs(last)
    trainers = updates.updates if scores else ()
    return Reward(
        trainers=tuple(zip(state.trainers, state.trainer_bonds, strict=True)),
        scores=tuple((header.trainer, value) for header, value in zip(trainers, values, strict=True)),
        sketches=sketches,
        available=(available, _pairs(voters)),
        committed=committed,
    )


def _pairs(validators: ValidatorSet) -> tuple[tuple[bytes, int], ...]:
    return tuple((validator.key, validator.power) for validator in validators.validators)


def _keys(validators: ValidatorSet, indices: Sequence[int]) -> frozenset[bytes]:
    return frozenset(validators.validators[index].key for index in indices)
