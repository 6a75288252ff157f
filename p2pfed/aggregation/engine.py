"""Merge the updates of a height and step the model: the same integers on every machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

import numpy as np
from msgspec import Struct

from p2pfed.aggregation.division import model_units
from p2pfed.aggregation.exponents import adapted_exponent, peak, re_exponent
from p2pfed.aggregation.mean import example_weights
from p2pfed.aggregation.rule import RULES
from p2pfed.aggregation.step import stepped
from p2pfed.types.model import Int16Vector, Int32Vector, Manifest, ModelState
from p2pfed.types.params import UPDATES_MAX

T = TypeVar("T")
R = TypeVar("R")


class ParallelMap(Protocol):
    """`map`, or the `map` of an executor of threads: groups are independent, so the bits are the same."""

    def __call__(self, function: Callable[[T], R], items: Iterable[T], /) -> Iterable[R]: ...


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


def choose_rule(rules: Sequence[str], updates: int, faulty_max: int) -> str | None:
    """Return the first of `rules` whose bound holds for so many updates and liars; None: no new model."""
    for name in rules:
        if RULES[name].bound(updates, faulty_max):
            return name
    return None


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
    parallel: ParallelMap = map,
) -> Merge:
    """Merge updates trained from `model` and return the model after them.

    Args:
        manifest: The arrays of the model; rules and exponents work on each of its groups alone.
        model: The model before; its exponents are those of the updates.
        rows: The updates, int16, shape `(d,)` each, within +-COORDINATE_MAX, sorted by the trainers'
            public keys.
        examples: How many examples each trainer claims, at least 1, in the order of `rows`.
        faulty_max: Updates that may lie, `f`; the rule's bound holds for it.
        rule: The name of the rule.
        update_bits: `T` of genesis.
        examples_cap: `examples_cap` of genesis: claims count up to so many medians; 0 for no cap.
        parallel: How to map over groups.

    Source:
        docs/spec/numerics.md.
    """
    assert 0 < len(rows) == len(examples) <= UPDATES_MAX
    assert all(row.dtype == np.int16 and row.shape == (manifest.size,) for row in rows)
    assert RULES[rule].bound(len(rows), faulty_max)
    weights = example_weights(examples, examples_cap)
    aggregate, weights_after = np.empty(manifest.size, np.int32), np.empty(manifest.size, np.int32)

    def merge_group(index: int) -> tuple[int, int]:
        """Fill the group's slices and return its new exponents."""
        group = manifest.groups[index]
        update_exponent, model_exponent = (
            int(model.update_exponents[index]),
            int(model.model_exponents[index]),
        )
        pieces = [row[group.slice] for row in rows]
        total = RULES[rule].apply(pieces, weights, faulty_max)
        piece = model_units(total, update_exponent, model_exponent)
        aggregate[group.slice] = piece
        result = stepped(model.weights[group.slice], piece, group.nonnegative)
        peaks = [peak(row) for row in pieces]
        update_exponent = adapted_exponent(update_exponent, peaks, faulty_max, update_bits)
        model_exponent = re_exponent(result, model_exponent, update_exponent)
        weights_after[group.slice] = result
        return update_exponent, model_exponent

    exponents = np.array(list(parallel(merge_group, range(len(manifest.groups)))), np.int8)
    after = ModelState(weights_after, exponents[:, 0].copy(), exponents[:, 1].copy())
    for array in (aggregate, after.weights, after.update_exponents, after.model_exponents):
        array.setflags(write=False)
    return Merge(rule, aggregate, after)
