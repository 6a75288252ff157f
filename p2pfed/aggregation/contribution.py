"""What each update of a height is worth to the others: exact integers from their inner products.

An update scores by how well it agrees with the updates of others, judged by the middle of them by bond, so
that neither one large liar nor many small ones decide. What agrees with the last height instead of this one
is a replay, what is all but equal to another update is its clone, and agreement beyond what is usual earns
nothing more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isqrt

import numpy as np
from msgspec import Struct

from p2pfed.aggregation.division import Int64Vector
from p2pfed.aggregation.gram import partial_gram, self_test
from p2pfed.aggregation.group import ParallelMap, pieces
from p2pfed.aggregation.growing import Tables
from p2pfed.aggregation.rule import Gram
from p2pfed.aggregation.sketch import UNIT, Signs, cosine, cosines_with, sketch
from p2pfed.types.model import Group, Int16Vector, Int32Vector

USUAL_REPLAY = (
    UNIT * 9 // 10
)  # Honest updates may be so like something of the last height, and more if most are.
CLONE_COSINE = UNIT * 98 // 100  # From here on two updates can be clones …
CLONE_RATIO = 10  # … if they are so many times nearer to each other than two updates usually are.


class Contribution(Struct, frozen=True):
    """The scores of a height in units of 2^-16, in the order of its updates, and the sketches to remember."""

    values: tuple[int, ...]
    sketches: tuple[bytes, ...]
    aggregate: bytes


def contribution(
    groups: Sequence[Group],
    rows: Sequence[Int16Vector],
    bonds: Sequence[int],
    *,
    update_exponents: Sequence[int],
    aggregate: Int32Vector,
    model_exponents: Sequence[int],
    sign: Signs,
    past: Sequence[bytes],
    ages: Sequence[int] = (),
    update_lag: int = 1,
    products: Tables | None = None,
    parallel: ParallelMap = map,
) -> Contribution:
    """Return what the updates of a height score.

    Args:
        groups: Of the model.
        rows: The updates in units of `update_exponents` (aligned, not shrunk), int16, shape `(d,)` each.
        bonds: The power of each trainer, at least 1, in the order of `rows`.
        update_exponents: One a group.
        aggregate: What the height made of them, int32, shape `(d,)`, in units of `model_exponents`.
        model_exponents: One a group, of the model before the height.
        sign: Of the coordinates, from `sketch.signs`.
        past: The sketches of the last height that merged: of its aggregate and its updates.
        ages: How many models older each update is; none: all 0.
        update_lag: How old they may be, of genesis.
        products: The inner products of `rows` in each group, where somebody has them already.
        parallel: How to map over pieces of groups.

    Source:
        docs/spec/contribution.md.
    """
    sketches = tuple(parallel(lambda row: sketch(row, update_exponents, groups, sign), rows))
    tables = group_products(groups, rows, parallel) if products is None else products
    inner = common_products(tables, update_exponents)
    replays = [max(found, default=0) for found in cosines_with(sketches, past)]
    lateness = [(update_lag + 1 - age, update_lag + 1) for age in ages or [0] * len(rows)]
    values = score_values(pairwise_cosines(inner), replays, bonds, lateness, rows[0].size)
    return Contribution(values, sketches, sketch(aggregate, model_exponents, groups, sign))


def group_products(groups: Sequence[Group], rows: Sequence[Int16Vector], parallel: ParallelMap) -> Tables:
    """Return the inner products of all pairs of rows in each group."""
    self_test()  # Before threads could ask it twice.
    work = [(index, *piece) for index, group in enumerate(groups) for piece in pieces(group.size)]

    def products_of(piece: tuple[int, int, int]) -> Int64Vector:
        index, begin, end = piece
        start = groups[index].start
        return partial_gram([row[start + begin : start + end] for row in rows])

    sums = [np.zeros((len(rows), len(rows)), np.int64) for _ in groups]
    for (index, _, _), part in zip(work, parallel(products_of, work), strict=True):
        sums[index] += part
    return sums


def common_products(tables: Tables, exponents: Sequence[int]) -> Gram:
    """Return the inner products of whole updates, in units of the finest group (K1).

    Bounds:
        Those of a group are below 2^52; a shift of at most 76 bits makes Python integers of them.
    """
    total = np.zeros(tables[0].shape, object)
    for of, exponent in zip(tables, exponents, strict=True):
        total += of.astype(object) << 2 * (max(exponents) - exponent)
    products: Gram = total.tolist()
    return products


def pairwise_cosines(products: Gram) -> Gram:
    """Return the cosines of all pairs of updates in units of 2^-16 (K2); that of an update with itself is
    0.
    """
    n = len(products)
    result = [[0] * n for _ in range(n)]
    for i in range(n):
        for j in range(i):
            result[i][j] = result[j][i] = cosine(products[i][j], products[i][i] * products[j][j])
    return result


def score_values(
    cosines: Gram,
    replays: Sequence[int],
    bonds: Sequence[int],
    lateness: Sequence[tuple[int, int]],
    size: int,
) -> tuple[int, ...]:
    """Return the scores, each from 0 to 2^16.

    Args:
        cosines: Of all pairs of updates.
        replays: The largest cosine of each update with something of the last height.
        bonds: The power of each trainer.
        lateness: The share that an update of its age is worth, as (part, parts).
        size: The number of coordinates, `d`.
    """
    n = len(bonds)
    chance = UNIT // isqrt(size)  # K3: two directions of no relation are as near as this, give or take.
    half = sum(bonds) - max(bonds)
    usual = max(USUAL_REPLAY, quantile(zip(replays, bonds, strict=True), 2, 3, sum(bonds)))
    scores = []
    for i in range(n):
        others = ((cosines[i][j], bonds[j]) for j in range(n) if j != i)
        agreement = quantile(others, 1, 2, half) if half else 0
        fresh = min(UNIT, (UNIT - replays[i]) * UNIT // (UNIT - usual)) if usual < UNIT else UNIT  # K4
        worth, of = lateness[i]
        scores.append((max(0, agreement - chance) * fresh >> 16) * worth // of)
    cap = quantile(zip(scores, bonds, strict=True), 2, 3, sum(bonds))  # K6
    scores = [min(score, cap) for score in scores]
    for clones in clone_groups(cosines, bonds):  # K7
        parts = [bonds[i] * scores[i] for i in clones]
        for i in clones if any(parts) else ():
            scores[i] = scores[i] * max(parts) // sum(parts)
    return tuple(scores)


def quantile(entries: Iterable[tuple[int, int]], part: int, parts: int, whole: int) -> int:
    """Return the first value, ascending, at which the weights sum to `part` of `parts` of `whole` at least.

    Args:
        entries: (value, weight) pairs whose weights sum to at least that.
    """
    reached = 0
    for value, weight in sorted(entries):
        reached += weight
        if parts * reached >= part * whole:
            return value
    raise AssertionError("the weights sum to less than is asked for")


def clone_groups(cosines: Gram, bonds: Sequence[int]) -> list[list[int]]:
    """Return the groups of two updates and more that are all but equal, directly or by others, ascending."""
    n = len(bonds)
    pairs = [(i, j) for i in range(n) for j in range(i)]
    if not pairs:
        return []
    weights = [(cosines[i][j], bonds[i] * bonds[j]) for i, j in pairs]
    usual = quantile(weights, 1, 2, sum(weight for _, weight in weights))
    leader = list(range(n))
    for i, j in pairs:
        apart = UNIT - cosines[i][j]
        first, second = sorted((leader[i], leader[j]))
        if first != second and cosines[i][j] > CLONE_COSINE and CLONE_RATIO * apart < UNIT - usual:
            leader = [first if of == second else of for of in leader]
    groups = [[i for i in range(n) if leader[i] == of] for of in range(n)]
    return [group for group in groups if len(group) > 1]
