"""Merge one group: measure the rows, let the rule decide, merge the columns block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import gcd
from typing import Any, Protocol, TypeVar

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from p2pfed.aggregation.catalogue import NamedRule
from p2pfed.aggregation.division import RuleSum, Sums
from p2pfed.aggregation.gram import neighbour_sums, partial_gram, self_test, weighted_sum
from p2pfed.aggregation.mixture import Mixture
from p2pfed.aggregation.rule import BlockFunction, Blockwise, Context, Gram, IntRow, Plan, Weighted
from p2pfed.types.model import Int16Vector

# A register of int16 has 64 KiB, or 128 where few rows leave room in the cache; smaller blocks spend more on
# calls than they gain.
BLOCK_ELEMENTS = 1 << 15
ROWS_FEW = 16
MIXED_BLOCK_ELEMENTS = 1 << 14  # Mixed rows are int32: half the columns.
PIECE_ELEMENTS = 1 << 18  # A thread's turn: long enough to be worth it, short enough to share a group.

T = TypeVar("T")
R = TypeVar("R")


class ParallelMap(Protocol):
    """`map`, or the `map` of an executor of threads: pieces are independent, so the bits are the same."""

    def __call__(self, function: Callable[[T], R], items: Iterable[T], /) -> Iterable[R]: ...


Sink = Callable[[int, Sums], None]
"""`(first column, sums)`: takes the sums of one block, which it may overwrite."""


class GroupPlan(Struct, frozen=True, eq=False):
    """What was decided for one group: good for any of its columns."""

    mixture: Mixture
    plan: Plan

    def denominator(self) -> int:
        """Return the denominator of the sums; a common factor of a weighted sum is left out."""
        return self.plan.denominator * self.mixture.scale // self.common_factor()

    def common_factor(self) -> int:
        """Return the largest factor of all coefficients and the denominator; 1 for a kernel.

        It changes no bit: for any S and den, `(S + den div 2) div den` rounds the quotient half up.
        """
        if isinstance(self.plan, Blockwise):
            return 1
        received = self.mixture.received(self.plan.coefficients)
        return gcd(self.plan.denominator * self.mixture.scale, *received)


def pieces(size: int) -> list[tuple[int, int]]:
    """Return the first column of each piece of a group, and the one after its last."""
    return [(begin, min(begin + PIECE_ELEMENTS, size)) for begin in range(0, size, PIECE_ELEMENTS)]


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
        if not named.bound(count, faulty_max):
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


def run(
    decided: GroupPlan,
    rows: Sequence[Int16Vector],
    begin: int,
    end: int,
    sink: Sink,
    *,
    is_narrow: bool = False,
) -> None:
    """Give `sink` the sums S of the columns from `begin` to `end`, block by block.

    Args:
        decided: What `decide` returned for the group.
        rows: The received rows of the group.
        begin: The first column.
        end: The column after the last.
        sink: Takes the sums.
        is_narrow: They are int32 instead of int64, which `division.fits_int32` must allow.
    """
    mixture, plan = decided.mixture, decided.plan
    elements = min(end - begin, _block_elements(mixture, plan))
    out: Sums = np.empty(elements, np.int32) if is_narrow else np.empty(elements, np.int64)
    if isinstance(plan, Blockwise):
        merge_block = _merger(mixture, plan, elements)
    else:
        merge_block = _adder(mixture, plan, elements, decided.common_factor())
    for start in range(begin, end, elements):
        sums = out[: min(elements, end - start)]
        merge_block([row[start : start + sums.size] for row in rows], sums)
        sink(start, sums)


def _block_elements(mixture: Mixture, plan: Plan) -> int:
    if mixture.matrix is not None:
        return MIXED_BLOCK_ELEMENTS
    is_float64 = isinstance(plan, Weighted) and len({*plan.coefficients} - {0}) > 1
    return 2 * BLOCK_ELEMENTS if mixture.count <= ROWS_FEW and not is_float64 else BLOCK_ELEMENTS


def _merger(mixture: Mixture, plan: Blockwise, elements: int) -> BlockFunction:
    kernel = plan.kernel.start(elements, mixture.dtype)
    rows = mixture.start(plan.rows, elements)

    def merge_block(block: Sequence[IntRow], out: Sums) -> None:
        kernel(rows(block), out)

    return merge_block


def _adder(mixture: Mixture, plan: Weighted, elements: int, factor: int) -> BlockFunction:
    """Return the function of a weighted sum: mixed rows are not made, their coefficients are passed down."""
    coefficients = mixture.received(plan.coefficients)
    used = [row for row, coefficient in enumerate(coefficients) if coefficient]
    weights = [coefficients[row] // factor for row in used]
    if not used:
        return _write_zeros
    factors = None if mixture.factors is None else tuple(mixture.factors[row] for row in used)
    rows = Mixture(len(used), factors, None, 1, [], None).start(range(len(used)), elements)
    is_plain = len(frozenset(weights)) == 1
    add = _plain_sum(weights[0], len(used), elements) if is_plain else weighted_sum(weights, elements)

    def merge_block(block: Sequence[IntRow], out: Sums) -> None:
        add(rows([block[row] for row in used]), out)

    return merge_block


def _plain_sum(weight: int, rows: int, elements: int) -> BlockFunction:
    """Return the function of a sum of int16 rows that all have one weight."""
    mix = neighbour_sums(np.ones((1, rows), np.int64), elements) if rows > 1 else None

    def add(rows: Sequence[IntRow], out: Sums) -> None:
        out[:] = rows[0] if mix is None else mix(rows)[0]
        if weight != 1:
            np.multiply(out, weight, out=out)

    return add


def _write_zeros(_rows: Sequence[IntRow], out: Sums) -> None:
    out[:] = 0


def plan_for(
    named: NamedRule,
    rows: Sequence[Int16Vector],
    weights: Sequence[int],
    faulty_max: int,
    *,
    seed: bytes = bytes(32),
    past: Int16Vector | None = None,
    parallel: ParallelMap = map,
) -> GroupPlan:
    """Return what a rule decides about the rows of one group; the arguments are those of `rule_sum`."""
    size = rows[0].size
    measured = [*rows] if past is None else [*rows, past]
    products: Gram = []
    if named.uses_products:
        self_test()  # Before threads could ask it twice.
        parts = parallel(lambda piece: partial_gram([row[slice(*piece)] for row in measured]), pieces(size))
        products = sum(parts, np.zeros((len(measured), len(measured)), np.int64)).tolist()
    return decide(
        (named,),
        [row[: len(rows)] for row in products[: len(rows)]],
        None if past is None else [row[-1] for row in products],
        count=len(rows),
        size=size,
        weights=weights,
        faulty_max=faulty_max,
        seed=seed,
    )


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
    decided = plan_for(named, rows, weights, faulty_max, seed=seed, past=past)
    total: NDArray[Any] = np.empty(rows[0].size, np.int64)

    def keep(start: int, sums: Sums) -> None:
        total[start : start + sums.size] = sums

    run(decided, rows, 0, total.size, keep)
    return RuleSum(total, decided.denominator())
