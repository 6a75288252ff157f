"""The scores that a block carries: made by its proposer, recomputed by everybody."""

from __future__ import annotations

from collections.abc import Sequence

from p2pfed.aggregation.contribution import contribution
from p2pfed.aggregation.engine import Merge
from p2pfed.aggregation.group import ParallelMap
from p2pfed.aggregation.sketch import signs
from p2pfed.aggregation.staleness import prepared
from p2pfed.chain.derive import Products, ages_of
from p2pfed.chain.state import ChainState
from p2pfed.chain.update_set import UpdateSet
from p2pfed.errors import InvalidBlock
from p2pfed.types.block import Body
from p2pfed.types.model import Int16Vector
from p2pfed.types.scores import Score, Scores


def has_scores(state: ChainState, rule: str) -> bool:
    """Answer whether the next block carries scores: where work is paid and there is some (K12)."""
    return bool(rule) and state.genesis.params.emission > 0


def scores_of(
    state: ChainState,
    updates: UpdateSet,
    rows: Sequence[Int16Vector],
    result: Merge,
    parallel: ParallelMap = map,
    products: Products | None = None,
) -> Scores:
    """Return the scores of the next block.

    Args:
        state: The state before it, with its model.
        updates: Its update set.
        rows: The payloads, in the same order.
        result: Their merge.
        parallel: How to map over pieces; it can't change a bit.
        products: What somebody has measured of these payloads already, as for the merge.
    """
    assert state.model is not None
    manifest = state.genesis.manifest
    powers = dict(zip(state.trainers, state.trainer_bonds, strict=True))
    ages = ages_of(state, updates.updates)
    straight, _ = prepared(manifest, state.model, rows, ages)
    found = contribution(
        manifest.groups,
        straight,
        [powers[header.trainer] for header in updates.updates],
        update_exponents=state.model.update_exponents.tolist(),
        aggregate=result.aggregate,
        model_exponents=state.model.model_exponents.tolist(),
        sign=signs(state.chain_id, manifest.size),
        past=state.ledger.contribution.past,
        ages=ages,
        update_lag=state.genesis.params.update_lag,
        products=None if products is None or any(ages) else products(updates.updates),
        parallel=parallel,
    )
    scores = tuple(Score(value, of) for value, of in zip(found.values, found.sketches, strict=True))
    return Scores(scores, found.aggregate)


def verify_scores(state: ChainState, body: Body, updates: UpdateSet, rule: str) -> None:
    """Check that the body has scores where it must, one an update; `check` recomputes them.

    Raises:
        InvalidBlock: It lacks them, has them though nothing is paid, or has another number.
    """
    lists = sum(isinstance(item, Scores) for item in body.transactions)
    found = len(body.scores.scores) if body.scores else 0
    expected = len(updates.updates) if has_scores(state, rule) else 0
    if found != expected or lists != bool(expected):
        raise InvalidBlock(
            f"{lists} lists of scores, {found} scores at the end of the transactions; {expected} are needed"
        )


def verify_equal_scores(claimed: Scores | None, ours: Scores) -> None:
    """Raise InvalidBlock unless the scores that a block carries are those that we found."""
    assert claimed is not None
    for place, (theirs, own) in enumerate(zip(claimed.scores, ours.scores, strict=True)):
        if theirs.value != own.value:
            raise InvalidBlock(f"score of update {place} is {theirs.value}, recomputed {own.value}")
    if claimed != ours:
        raise InvalidBlock("the scores are right and a sketch beside them is not the one recomputed")
