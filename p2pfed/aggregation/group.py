"""Merge one group: measure the rows, let the rule decide, merge the columns block by block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from p2pfed.aggregation.catalogue import NamedRule
from p2pfed.aggregation.division import Int64Vector, RuleSum
from p2pfed.aggregation.gram import gram, weighted_sum
from p2pfed.aggregation.mixture import Mixture
from p2pfed.aggregation.network import add_up
from p2pfed.aggregation.rule import BlockFunction, Blockwise, Context, Gram, IntRow, Plan, Weighted
from p2pfed.types.model import Int16Vector

BLOCK_ELEMENTS = 1 << 14  # 32 KiB of int16 a register: the registers of 16 rows stay in a 1 MiB cache.
MIXED_BLOCK_ELEMENTS = 1 << 13  # Mixed rows are int32: half the columns.
Sink = Callable[[int, Int64Vector], None]
"""`(first column, sums)`: takes the sums of one block, which it may overwrite."""


class GroupPlan(Struct, frozen=True, eq=False):
    """What was decided for one group: good for any of its columns."""

    mixture: Mixture
    plan: Plan

    @property
    def denominator(self) -> int:
        return self.plan.denominator * self.mixture.scale


def decide(
    rules: Sequence[NamedRule],
    products: Gram,
    past: Sequence[int] | None,
    *,
    count: int,
    size: int,
    weights: Sequence[int],
    faulty_max: int,
    seed: bytes,
) -> GroupPlan:
    """Return the plan of the first of `rules` whose bound holds and that does not decline these rows.

    Args:
        rules: The rule of the height, then those that may take over; one of them takes any rows.
        products: Inner products of the received rows; [] where no rule that could be asked uses them.
        past: Inner products of the rows with the aggregate before, and of that with itself; None for none.
        count: Received rows.
        size: Columns of the group.
        weights: Integers that sum to 2^30, one a received row.
        faulty_max: Rows that may lie.
        seed: The seed of the height, for dice.
    """
    for named in rules:
        if not named.bound(count, faulty_max) or (named.rule.uses_past and past is None):
            continue
        mixture = Mixture(count, None, None, 1, products, None if past is None else tuple(past[:-1]))
        for pre in named.before:
            mixture = pre.prepare(mixture, faulty_max, seed)
        context = Context(
            count=mixture.count,
            faulty_max=faulty_max,
            size=size,
            weights=weights if mixture.matrix is None else None,
            products=mixture.products,
            unit=mixture.unit,
            past=None if past is None or mixture.past is None else (*mixture.past, past[-1]),
        )
        plan = named.rule.plan(context)
        if plan is not None:
            return GroupPlan(mixture, plan)
    raise AssertionError("a rule that takes any rows comes last")


def run(decided: GroupPlan, rows: Sequence[Int16Vector], begin: int, end: int, sink: Sink) -> None:
    """Give `sink` the sums S of the columns from `begin` to `end`, block by block."""
    mixture, plan = decided.mixture, decided.plan
    elements = min(end - begin, BLOCK_ELEMENTS if mixture.matrix is None else MIXED_BLOCK_ELEMENTS)
    out = np.empty(elements, np.int64)
    if isinstance(plan, Blockwise):
        merge_block = _merger(mixture, plan, len(rows), elements)
    else:
        merge_block = _adder(mixture, plan, elements)
    for start in range(begin, end, elements):
        sums = out[: min(elements, end - start)]
        merge_block([row[start : start + sums.size] for row in rows], sums)
        sink(start, sums)


def _merger(mixture: Mixture, plan: Blockwise, received: int, elements: int) -> BlockFunction:
    kernel = plan.kernel.start(elements, mixture.dtype)
    scratch = np.empty((received if mixture.factors else 0, elements), np.int16)

    def merge_block(block: Sequence[IntRow], out: Int64Vector) -> None:
        kernel(mixture.rows(block, plan.rows, scratch[:, : out.size]), out)

    return merge_block


def _adder(mixture: Mixture, plan: Weighted, elements: int) -> BlockFunction:
    """Return the function of a weighted sum: mixed rows are not made, their coefficients are passed down."""
    coefficients = mixture.received(plan.coefficients)
    used = [row for row, coefficient in enumerate(coefficients) if coefficient]
    weights = [coefficients[row] for row in used]
    factors = None if mixture.factors is None else tuple(mixture.factors[row] for row in used)
    part = Mixture(len(used), factors, None, 1, [], None)
    scratch = np.empty((len(used) if factors else 0, elements), np.int16)
    wide = np.empty(elements, np.int32)
    is_plain_sum = len(frozenset(weights)) == 1

    def merge_block(block: Sequence[IntRow], out: Int64Vector) -> None:
        rows = part.rows([block[row] for row in used], range(len(used)), scratch[:, : out.size])
        if not used:
            out[:] = 0
        elif is_plain_sum:
            np.multiply(add_up(rows, wide[: out.size]), np.int64(weights[0]), out=out)
        else:
            weighted_sum(weights, rows, out)

    return merge_block


def rule_sum(
    named: NamedRule,
    rows: Sequence[Int16Vector],
    weights: Sequence[int],
    faulty_max: int,
    *,
    seed: bytes = bytes(32),
    past: Int16Vector | None = None,
) -> RuleSum:
    """Merge the rows of one group on their own, without a model: for tests, measurements and rules of one's
    own.

    Args:
        named: A rule whose bound holds and that doesn't decline these rows.
        rows: int16, shape `(d_g,)` each.
        weights: Integers that sum to 2^30; only the mean looks at them.
        faulty_max: Rows that may lie.
        seed: For dice.
        past: The aggregate before, in update units; for rules that use it.
    """
    measured = [*rows] if past is None else [*rows, past]
    products = gram(measured) if named.uses_products else []
    inner = None if past is None else [row[-1] for row in products]
    decided = decide(
        (named,),
        [row[: len(rows)] for row in products[: len(rows)]],
        inner,
        count=len(rows),
        size=rows[0].size,
        weights=weights,
        faulty_max=faulty_max,
        seed=seed,
    )
    total: NDArray[Any] = np.empty(rows[0].size, np.int64)

    def keep(start: int, sums: Int64Vector) -> None:
        total[start : start + sums.size] = sums

    run(decided, rows, 0, total.size, keep)
    return RuleSum(total, decided.denominator)
