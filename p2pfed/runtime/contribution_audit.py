"""What each update of a stored height was worth, judged by the learner: leave one out, and Shapley values.

Floats and a learner of one's own: an opinion of this peer about a final block, which no other peer needs to
share. What peers agree on are the scores of spec/contribution.md.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import numpy as np
from msgspec import Struct

from p2pfed.aggregation.engine import choose_rule, faulty_max, merge
from p2pfed.aggregation.step import OuterStep
from p2pfed.chain.derive import ages_of
from p2pfed.chain.state import ChainState
from p2pfed.chain.update_set import update_set
from p2pfed.errors import LocalError
from p2pfed.learning.learner import ACCURACY_PUBLIC, LOSS_PUBLIC, Metrics
from p2pfed.runtime.deep_check import rows_of, state_before
from p2pfed.storage.store import Store
from p2pfed.types.model import Int16Vector, ModelState
from p2pfed.types.update import UpdateHeader

TRUNCATION = 0.01  # An order ends where the rest changes less than this share of what all updates change.

Evaluate = Callable[[ModelState], Awaitable[Metrics]]


class Worth(Struct, frozen=True):
    """One update: its score in the block (units of 2^-16, None where none is), and what its absence costs.

    Both values are in the unit of the measure, positive where the update helped.
    """

    trainer: bytes
    score: int | None
    leave_one_out: float
    shapley: float


class Audit(Struct, frozen=True):
    """A height: what is measured (`-loss` or an accuracy), for no update and for all; what each was worth."""

    height: int
    measure: str
    before: float
    after: float
    worth: tuple[Worth, ...]


class Coalitions:
    """The measure of the model that some of a height's updates make; each set is merged once."""

    def __init__(
        self,
        before: ChainState,
        updates: Sequence[UpdateHeader],
        rows: Sequence[Int16Vector],
        evaluate: Evaluate,
    ) -> None:
        self._before = before
        self._updates = updates
        self._rows = rows
        self._evaluate = evaluate
        self._known: dict[frozenset[int], float] = {}
        self.measure = ""

    async def value(self, members: frozenset[int]) -> float:
        """Return the measure with these updates, by their places; larger is better.

        Raises:
            LocalError: The learner measures neither the loss nor the accuracy on the public set.
        """
        if members not in self._known:
            figures = await self._evaluate(self._model(sorted(members)))
            name = LOSS_PUBLIC if LOSS_PUBLIC in figures else ACCURACY_PUBLIC
            if name not in figures:
                raise LocalError(
                    f"the learner measures no {LOSS_PUBLIC} and no {ACCURACY_PUBLIC}: {sorted(figures)}"
                )
            self.measure = f"-{name}" if name == LOSS_PUBLIC else name
            self._known[members] = float(figures[name]) * (-1 if name == LOSS_PUBLIC else 1)
        return self._known[members]

    def _model(self, members: list[int]) -> ModelState:
        """Return the model of a set: by the first rule of genesis whose bound holds, else their mean."""
        before, params = self._before, self._before.genesis.params
        assert before.model is not None
        if not members:
            return before.model
        updates = [self._updates[place] for place in members]
        bonds = dict(zip(before.trainers, before.trainer_bonds, strict=True))
        lying = faulty_max([bonds[update.trainer] for update in updates])
        rule = choose_rule(params.rules, len(members), lying) or "mean"
        later = params.rules[params.rules.index(rule) + 1 :] if rule in params.rules else ()
        return merge(
            before.genesis.manifest,
            before.model,
            [self._rows[place] for place in members],
            [update.examples for update in updates],
            faulty_max=lying,
            rule=rule,
            ages=ages_of(before, updates),
            outer=OuterStep(params.outer_momentum, params.outer_rate),
            later_rules=later,
            seed=before.seed,
            update_bits=params.update_bits,
            examples_cap=params.examples_cap,
        ).model


async def audit_contribution(
    store: Store,
    height: int,
    evaluate: Evaluate,
    *,
    orders: int,
    seed: int,
    step_to: Callable[[int], None] = lambda _: None,
) -> Audit:
    """Return what each update of the block of `height` was worth.

    Args:
        store: Of a peer that still has the model before it and its payloads.
        height: A final height.
        evaluate: Measures a model.
        orders: So many orders of the updates, drawn by `seed`, are walked for the Shapley values; more are
            nearer to the truth.
        seed: Of the draw.
        step_to: Told how many of `(orders + 1) * updates` steps are made.

    Raises:
        LocalError: No such block, it merged nothing, or what it was made of is not kept any more.
    """
    block = store.chain.block(height)
    if block is None:
        raise LocalError(f"there is no block {height}; the heights are 1 to {store.chain.height}")
    updates = update_set(block.body.updates, block.header.round0).updates
    if block.header.is_empty:
        raise LocalError(f"block {height} is empty: it merged no update")
    before = state_before(store, height)
    rows = None if before is None else rows_of(store, before.seed, updates)
    if before is None or rows is None:
        raise LocalError(f"the model before block {height} or a payload of it is not kept any more")
    coalitions, everybody = Coalitions(before, updates, rows, evaluate), frozenset(range(len(updates)))
    first, last = await coalitions.value(frozenset()), await coalitions.value(everybody)
    without = []
    for place in range(len(updates)):
        without.append(last - await coalitions.value(everybody - {place}))
        step_to(place + 1)
    sums = [0.0] * len(updates)
    dice = np.random.Generator(np.random.PCG64(seed))
    for turn in range(orders):
        members, value = frozenset[int](), first
        for place in dice.permutation(len(updates)).tolist():
            if abs(last - value) <= TRUNCATION * abs(last - first):
                break
            members |= {place}
            joined = await coalitions.value(members)
            sums[place] += joined - value
            value = joined
        step_to((turn + 2) * len(updates))
    scores = block.body.scores
    worth = tuple(
        Worth(
            update.trainer,
            scores.scores[place].value if scores else None,
            without[place],
            sums[place] / orders,
        )
        for place, update in enumerate(updates)
    )
    return Audit(height, coalitions.measure, first, last, worth)
