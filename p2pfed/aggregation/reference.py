"""The rules and the model step once more, slowly, in plain Python integers: what the fast kernels must equal.

Written from docs/spec/numerics.md alone and sharing no arithmetic with the kernels, so a mistake must be made
twice to go unseen. Tests and `verify --deep` use it; it is about a hundred times slower.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isqrt

import numpy as np

from p2pfed.aggregation.engine import Merge
from p2pfed.types.model import Int16Vector, Manifest, ModelState

Row = list[int]
Fraction = tuple[Row, int]  # A sum for each coordinate, and the one denominator of all.


def example_weights(examples: Sequence[int], examples_cap: int) -> list[int]:
    """Return the shares of 2^30 by largest remainder, lower rows first among equals."""
    n = len(examples)
    median = sorted(examples)[n // 2]
    counted = [min(claim, examples_cap * median) if examples_cap else claim for claim in examples]
    whole = sum(counted)
    weights = [(claim << 30) // whole for claim in counted]
    while sum(weights) < 1 << 30:
        # Who is furthest below its share; `max` keeps the first of equals.
        neediest = max(range(n), key=lambda row: (counted[row] << 30) - weights[row] * whole)
        weights[neediest] += 1
    return weights


def mean(rows: list[Row], weights: list[int], _faulty_max: int) -> Fraction:
    columns = zip(*rows, strict=True)
    return [sum(w * q for w, q in zip(weights, column, strict=True)) for column in columns], 1 << 30


def median(rows: list[Row], _weights: list[int], _faulty_max: int) -> Fraction:
    n = len(rows)
    columns = [sorted(column) for column in zip(*rows, strict=True)]
    if n % 2:
        return [column[n // 2] for column in columns], 1
    return [column[n // 2 - 1] + column[n // 2] for column in columns], 2


def trimmed_mean(rows: list[Row], _weights: list[int], faulty_max: int) -> Fraction:
    n = len(rows)
    kept = [sorted(column)[faulty_max : n - faulty_max] for column in zip(*rows, strict=True)]
    return [sum(values) for values in kept], n - 2 * faulty_max


def clip_nnm_trimmed_mean(rows: list[Row], weights: list[int], faulty_max: int) -> Fraction:
    """Clip to the median norm, mix with the n - f nearest, trim: each step as its definition says."""
    n = len(rows)
    norms = [isqrt(sum(q * q for q in row)) for row in rows]
    limit = sorted(norms)[n // 2]
    factors = [2**15 if norm <= limit else limit * 2**15 // norm for norm in norms]
    scaled = [[factor * q for q in row] for factor, row in zip(factors, rows, strict=True)]
    clipped = [[(value + 2**14) >> 15 for value in row] for row in scaled]
    mixed = []
    for row in scaled:
        distances = [sum((a - b) ** 2 for a, b in zip(row, other, strict=True)) for other in scaled]
        nearest = sorted(range(n), key=lambda other: (distances[other], other))[: n - faulty_max]
        mixed.append([sum(column) for column in zip(*(clipped[other] for other in nearest), strict=True)])
    sums, count = trimmed_mean(mixed, weights, faulty_max)
    return sums, count * (n - faulty_max)


RULES: dict[str, Callable[[list[Row], list[int], int], Fraction]] = {
    "mean": mean,
    "median": median,
    "trimmed_mean": trimmed_mean,
    "clip_nnm_trimmed_mean": clip_nnm_trimmed_mean,
}


def model_units(fraction: Fraction, e: int, m: int) -> Row:
    """Return each coordinate in units of 2^-m, rounded half up."""
    sums, denominator = fraction
    up, down = max(0, m - e), max(0, e - m)
    denominator <<= down
    return [((value << up) + denominator // 2) // denominator for value in sums]


def adapted_exponent(rows: list[Row], e: int, faulty_max: int, update_bits: int) -> int:
    """Return the update exponent after these rows."""
    k = max(faulty_max, (len(rows) - 1) // 3)
    if k >= len(rows):
        return e
    bits = sorted((max(abs(q) for q in row) for row in rows), reverse=True)[k].bit_length()
    if bits == 0:
        return e
    if bits > update_bits + 1:
        e -= min(4, bits - update_bits)
    if bits < update_bits - 1:
        e += min(2, update_bits - bits)
    return min(30, max(-8, e))


def step(weights: Row, aggregate: Row, is_nonnegative: bool) -> Row:
    """Return the weights plus the aggregate, within +-(2^31 - 1), from 0 where the array says so."""
    lowest = 0 if is_nonnegative else -(2**31 - 1)
    return [min(2**31 - 1, max(lowest, w + a)) for w, a in zip(weights, aggregate, strict=True)]


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
) -> Merge:
    """Return what `engine.merge` returns for the same arguments."""
    shares = example_weights(examples, examples_cap)
    aggregate, weights, update_exponents, model_exponents = Row(), Row(), Row(), Row()
    for index, group in enumerate(manifest.groups):
        pieces = [row[group.start : group.stop].tolist() for row in rows]
        e, m = int(model.update_exponents[index]), int(model.model_exponents[index])
        change = model_units(RULES[rule](pieces, shares, faulty_max), e, m)
        after = step(model.weights[group.start : group.stop].tolist(), change, group.nonnegative)
        e = adapted_exponent(pieces, e, faulty_max, update_bits)
        while (max(map(abs, after)) >= 2**29 and m >= 2) or m - e > 14:
            after, m = [(w + 2) >> 2 for w in after], m - 2
        aggregate += change
        weights += after
        update_exponents.append(e)
        model_exponents.append(m)
    state = ModelState(
        np.array(weights, np.int32), np.array(update_exponents, np.int8), np.array(model_exponents, np.int8)
    )
    result = Merge(rule, np.array(aggregate, np.int32), state)
    for array in (result.aggregate, state.weights, state.update_exponents, state.model_exponents):
        array.setflags(write=False)
    return result
