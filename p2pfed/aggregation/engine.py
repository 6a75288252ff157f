"""Merge the updates of a height and step the model: the same integers on every machine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from p2pfed.aggregation.catalogue import NamedRule, named_rule
from p2pfed.aggregation.division import Int64Vector, RuleSum, Sums, fits_int32, model_units
from p2pfed.aggregation.exponents import adapted_exponent, needs_re_exponent, peak, re_exponent
from p2pfed.aggregation.gram import partial_gram, self_test
from p2pfed.aggregation.group import GroupPlan, ParallelMap, decide, pieces, run
from p2pfed.aggregation.growing import Tables
from p2pfed.aggregation.mean import example_weights
from p2pfed.aggregation.past import Past, past_direction
from p2pfed.aggregation.staleness import past_exponents_after, prepared
from p2pfed.aggregation.step import OuterStep, stepped
from p2pfed.primitives.digest import ZERO_DIGEST
from p2pfed.types.model import Group, Int16Vector, Int32Vector, Manifest, ModelState
from p2pfed.types.params import UPDATES_MAX

STILL = OuterStep()


class Merge(Struct, frozen=True, eq=False):
    """What a height makes of its updates; the arrays are read-only.

    rule: The name of the rule used.
    aggregate: int32, shape `(d,)`, in units 2^-m of the model before, |a| < 2^29; `aggregate_root` covers it.
    model: The model after this height.
    """

    rule: str
    aggregate: Int32Vector
    model: ModelState


def faulty_max(bonds: Sequence[int]) -> int:
    """Return how many trainers may lie, `f`: the most whose bonds together are less than a third of all.

    Args:
        bonds: The bond of each trainer of the height, in any order.
    """
    whole, lying = sum(bonds), 0
    for count, bond in enumerate(sorted(bonds)):
        lying += bond
        if 3 * lying >= whole:
            return count
    return 0


def choose_rule(rules: Sequence[str], updates: int, faulty_max: int, *, has_past: bool = False) -> str | None:
    """Return the first of `rules` whose bound holds for so many updates and liars; None: no new model.

    A rule that may decline counts only where one that takes any updates comes after it.

    Args:
        rules: Names of rules in the order of genesis.
        updates: How many updates there are.
        faulty_max: How many of them may lie.
        has_past: The aggregate of the height before is known.
    """
    usable = [named for named in map(named_rule, rules) if is_usable(named, updates, faulty_max, has_past)]
    while usable and usable[-1].rule.may_decline:
        usable.pop()
    return usable[0].name if usable else None


def is_usable(named: NamedRule, updates: int, faulty_max: int, has_past: bool) -> bool:
    """Answer whether a rule has all that it needs."""
    return named.bound(updates, faulty_max) and (has_past or not named.rule.uses_past)


class _Piece(Struct, frozen=True):
    """Columns of one group, for one thread."""

    group: int
    begin: int
    end: int


def merge(
    manifest: Manifest,
    model: ModelState,
    rows: Sequence[Int16Vector],
    examples: Sequence[int],
    *,
    faulty_max: int,
    rule: str,
    update_bits: int,
    examples_cap: int,
    ages: Sequence[int] = (),
    outer: OuterStep = STILL,
    later_rules: Sequence[str] = (),
    seed: bytes = ZERO_DIGEST,
    past: Past | None = None,
    products: Tables | None = None,
    parallel: ParallelMap = map,
) -> Merge:
    """Merge updates trained from `model` and return the model after them.

    Args:
        manifest: The arrays of the model; rules and exponents work on each of its groups alone.
        model: The model before; its exponents are those of the updates, `past_exponents` of older ones.
        rows: The updates, int16, shape `(d,)` each, within +-COORDINATE_MAX, sorted by the trainers'
            public keys.
        examples: How many examples each trainer claims, at least 1, in the order of `rows`.
        faulty_max: Updates that may lie, `f`; the rule's bound holds for it.
        rule: The name of the rule.
        update_bits: `T` of genesis.
        examples_cap: `examples_cap` of genesis: claims count up to so many medians; 0 for no cap.
        ages: How many new models each update is older than `model`, in the order of `rows`; none: all 0.
        outer: The outer step of genesis.
        later_rules: The rules after it in genesis: the first that is usable takes a group that `rule`
            declines.
        seed: The seed of the height, 32 bytes: for dice.
        past: The aggregate of the height before, for the rules that use it.
        products: The inner products of `rows` in each group, where somebody has them already; they are not
            used where a row is old or the aggregate before has to be measured as well.
        parallel: How to map over pieces of groups; never called inside itself.

    Source:
        docs/spec/numerics.md.
    """
    assert 0 < len(rows) == len(examples) <= UPDATES_MAX
    assert all(row.dtype == np.int16 and row.shape == (manifest.size,) for row in rows)
    assert is_usable(named_rule(rule), len(rows), faulty_max, past is not None)
    straight, rows = prepared(manifest, model, rows, ages)
    asked = _asked((rule, *later_rules), len(rows), faulty_max, past is not None)
    if not any(named.rule.uses_past for named in asked):
        past = None
    groups = manifest.groups
    work = [
        _Piece(index, begin, end) for index, group in enumerate(groups) for begin, end in pieces(group.size)
    ]
    weights = example_weights(examples, examples_cap)
    if products is None or past is not None or any(ages):
        tables = _products(groups, work, rows, model, asked, past, parallel)
    else:
        tables = [table.tolist() for table in products]
        assert all(len(table) == len(rows) for table in tables)
    plans = [
        decide(
            asked,
            [row[: len(rows)] for row in table[: len(rows)]],
            None if past is None or not table else [row[-1] for row in table],
            count=len(rows),
            size=group.size,
            weights=weights,
            faulty_max=faulty_max,
            seed=seed,
        )
        for group, table in zip(groups, tables, strict=True)
    ]  # fmt: skip
    assert model.velocity.size == (manifest.size if outer.momentum else 0)
    aggregate, weights_after = np.empty(manifest.size, np.int32), np.empty(manifest.size, np.int32)
    velocity_after = np.empty_like(model.velocity)

    def merge_piece(piece: _Piece) -> list[int]:
        """Fill the piece's slices and return the peak of each row in it."""
        group = groups[piece.group]
        _fill(plans[piece.group], model, group, piece, rows, outer, aggregate, weights_after, velocity_after)
        here = slice(group.start + piece.begin, group.start + piece.end)
        return [peak(row[here]) for row in straight]

    peaks = [[0] * len(rows) for _ in groups]
    for piece, found in zip(work, parallel(merge_piece, work), strict=True):
        peaks[piece.group] = list(map(max, peaks[piece.group], found))
    exponents = np.array(
        [
            _new_exponents(
                model,
                index,
                (weights_after[group.slice], velocity_after[group.slice]),
                peaks[index],
                faulty_max,
                update_bits,
            )
            for index, group in enumerate(groups)
        ],
        np.int8,
    )
    after = ModelState(
        weights_after,
        exponents[:, 0].copy(),
        exponents[:, 1].copy(),
        past_exponents_after(model),
        velocity_after,
    )
    exponent_arrays = (after.update_exponents, after.model_exponents, after.past_exponents)
    for array in (aggregate, after.weights, after.velocity, *exponent_arrays):
        array.setflags(write=False)
    return Merge(rule, aggregate, after)


def _asked(rules: Sequence[str], updates: int, faulty_max: int, has_past: bool) -> list[NamedRule]:
    """Return the usable rules up to the first that takes any updates."""
    asked: list[NamedRule] = []
    for named in map(named_rule, rules):
        if is_usable(named, updates, faulty_max, has_past):
            asked.append(named)
            if not named.rule.may_decline:
                break
    return asked


def _products(
    groups: Sequence[Group],
    work: Sequence[_Piece],
    rows: Sequence[Int16Vector],
    model: ModelState,
    asked: Sequence[NamedRule],
    past: Past | None,
    parallel: ParallelMap,
) -> list[list[list[int]]]:
    """Return the inner products of each group's rows, those with the aggregate before last; [] where
    unused.
    """
    if not any(named.uses_products for named in asked):
        return [[] for _ in groups]
    self_test()  # Before threads could ask it twice.

    def products_of(piece: _Piece) -> Int64Vector:
        group = groups[piece.group]
        here = slice(group.start + piece.begin, group.start + piece.end)
        measured = [row[here] for row in rows]
        if past is not None:
            measured.append(past_direction(past, piece.group, here, int(model.update_exponents[piece.group])))
        return partial_gram(measured)

    width = len(rows) + (past is not None)
    totals = [np.zeros((width, width), np.int64) for _ in groups]
    for piece, part in zip(work, parallel(products_of, work), strict=True):
        totals[piece.group] += part
    return [total.tolist() for total in totals]


def _fill(
    plan: GroupPlan,
    model: ModelState,
    group: Group,
    piece: _Piece,
    rows: Sequence[Int16Vector],
    outer: OuterStep,
    aggregate: Int32Vector,
    weights_after: Int32Vector,
    velocity_after: Int32Vector,
) -> None:
    """Merge the columns of a piece and step the weights under them."""
    if group.kind == "statistic":
        outer = STILL  # An average is no direction: it has no momentum.
    e, m = int(model.update_exponents[piece.group]), int(model.model_exponents[piece.group])

    is_narrow = fits_int32(plan.denominator(), e, m)

    def step(start: int, sums: Sums) -> None:
        here = slice(group.start + start, group.start + start + sums.size)
        change = model_units(RuleSum(sums, plan.denominator()), e, m, aggregate[here])
        velocity = model.velocity[here]
        weights_after[here], velocity_after[here] = stepped(
            model.weights[here], velocity, change, outer, nonnegative=group.nonnegative
        )

    run(plan, [row[group.slice] for row in rows], piece.begin, piece.end, step, is_narrow=is_narrow)


def _new_exponents(
    model: ModelState,
    index: int,
    parts: tuple[Int32Vector, Int32Vector],
    peaks: Sequence[int],
    faulty_max: int,
    update_bits: int,
) -> tuple[int, int]:
    """Return the group's exponents after the height; shift weights and velocity where the model's falls."""
    e = adapted_exponent(int(model.update_exponents[index]), peaks, faulty_max, update_bits)
    m = int(model.model_exponents[index])
    if any(needs_re_exponent(part, m, e) for part in parts):
        wide = np.concatenate([part.astype(np.int64) for part in parts])
        m = re_exponent(wide, m, e)
        parts[0][:], parts[1][:] = wide[: parts[0].size], wide[parts[0].size :]
    return e, m
