"""The rules and the model step once more, slowly, in plain Python integers: what the fast kernels must equal.

Written from docs/spec/numerics.md alone and sharing no arithmetic with the kernels, so a mistake must be made
twice to go unseen. Tests and `verify --deep` use it; it is about a hundred times slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import numpy as np

from p2pfed.aggregation.catalogue import named_rule
from p2pfed.aggregation.engine import STILL, Merge
from p2pfed.aggregation.past import Past
from p2pfed.aggregation.reference_gram import RULES
from p2pfed.aggregation.reference_rules import PRE_RULES, Fraction, Row, Rows, combined, inner
from p2pfed.aggregation.rule import Context, Weighted
from p2pfed.aggregation.step import OuterStep
from p2pfed.primitives.digest import ZERO_DIGEST
from p2pfed.types.model import Int16Vector, Manifest, ModelState


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


def apply(
    names: Sequence[str],
    pieces: list[Row],
    weights: list[int],
    faulty_max: int,
    seed: bytes,
    past: Row | None,
) -> Fraction:
    """Return the sums and their denominator by the first of `names` that holds and takes these rows."""
    for name in names:
        parts = "clip+nnm+trimmed_mean" if name == "clip_nnm_trimmed_mean" else name
        *before, last = parts.split("+")
        rows = Rows(pieces, pieces, 1, 1, weights, past)
        for pre in before:
            rows = PRE_RULES[pre](rows, faulty_max, seed)
        if not holds(last, len(rows.summed), faulty_max, past is not None):
            continue
        fraction = RULES[last](rows, faulty_max) if last in RULES else installed(last, rows, faulty_max)
        if fraction is not None:
            return fraction[0], fraction[1] * rows.scale
    raise AssertionError("no rule takes these rows")


def installed(name: str, rows: Rows, faulty_max: int) -> Fraction | None:
    """Return what a rule of a user's makes of whole rows: its plan is written once, all around it twice."""
    products = [[inner(a, b) for b in rows.measured] for a in rows.measured]
    count, size = len(rows.summed), len(rows.summed[0])
    plan = named_rule(name).rule.plan(
        Context(count, faulty_max, size, rows.weights, products, rows.unit**2, past=None)
    )
    if plan is None:
        return None
    if isinstance(plan, Weighted):
        return combined(plan.coefficients, rows.summed), plan.denominator
    sums = np.empty(size, np.int64)
    chosen = [np.array(rows.summed[row], np.int64) for row in plan.rows]
    plan.kernel.start(size, np.int64)(chosen, sums)
    return sums.tolist(), plan.denominator


def holds(name: str, n: int, f: int, has_past: bool) -> bool:
    """Answer whether a rule's bound holds for n rows."""
    if name not in RULES:
        rule = named_rule(name).rule
        return not rule.uses_past and rule.bound(n, f)
    if name in ("mean", "foolsgold"):
        return n > 0
    extra = {
        "bulyan": n >= 4 * f + 3,
        "smea": 2 * f < n and comb(n, f) * (n - f) ** 3 <= 2**27,
        "caf": n <= 128,
        "cosine_to_previous": has_past,
    }
    return 2 * f < n and extra.get(name, True)


def model_units(fraction: Fraction, e: int, m: int) -> Row:
    """Return each coordinate in units of 2^-m, rounded half up."""
    sums, denominator = fraction
    up, down = max(0, m - e), max(0, e - m)
    denominator <<= down
    return [((value << up) + denominator // 2) // denominator for value in sums]


def direction(past: Past, group: int, columns: slice, e: int) -> Row:
    """Return the aggregate before in units of 2^-e, rounded half up, within +-32767."""
    shift = e - int(past.exponents[group])
    up, down = max(0, shift), max(0, -shift)
    scaled = [((value << up) + (1 << down >> 1)) >> down for value in past.aggregate[columns].tolist()]
    return [max(-32767, min(32767, value)) for value in scaled]


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


def aligned(row: Row, shift: int) -> Row:
    """Return a row of an older exponent in today's, `shift` bits higher, within +-32767."""
    up, down = max(0, shift), max(0, -shift)
    return [max(-32767, min(32767, ((q << up) + (1 << down >> 1)) >> down)) for q in row]


def shrunk(row: Row, age: int) -> Row:
    """Return a row as much smaller as it is older."""
    factor = (32768, 23170, 18919, 16384, 14654)[age]
    return [(q * factor + 2**14) >> 15 for q in row] if age else row


def step(weights: Row, velocity: Row, aggregate: Row, outer: OuterStep, lowest: int) -> tuple[Row, Row]:
    """Return weights and velocity after a step, from `lowest` and -(2^31 - 1) up to 2^31 - 1."""
    most = 2**31 - 1
    after, moved = Row(), Row()
    for w, v, a in zip(weights, velocity, aggregate, strict=True):
        kept = abs(outer.momentum * v) // 2**16
        v = max(-most, min(most, (kept if v >= 0 else -kept) + a))
        taken = (a * 2**16 + outer.momentum * v + 2**15) // 2**16
        after.append(max(lowest, min(most, w + (outer.rate * taken + 2**15) // 2**16)))
        moved.append(v)
    return after, moved


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
) -> Merge:
    """Return what `engine.merge` returns for the same arguments."""
    shares = example_weights(examples, examples_cap)
    ages = ages or [0] * len(rows)
    aggregate, weights, velocity, update_exponents, model_exponents = Row(), Row(), Row(), Row(), Row()
    for index, group in enumerate(manifest.groups):
        e, m = int(model.update_exponents[index]), int(model.model_exponents[index])
        straight = [
            aligned(row[group.start : group.stop].tolist(), e - int(model.exponents_of(age)[index]))
            for row, age in zip(rows, ages, strict=True)
        ]
        pieces = [shrunk(row, age) for row, age in zip(straight, ages, strict=True)]
        before = None if past is None else direction(past, index, group.slice, e)
        change = model_units(apply((rule, *later_rules), pieces, shares, faulty_max, seed, before), e, m)
        here = STILL if group.kind == "statistic" else outer
        before_step = model.velocity[group.slice].tolist() if model.velocity.size else [0] * group.size
        lowest = 0 if group.nonnegative else -(2**31 - 1)
        after, moved = step(model.weights[group.slice].tolist(), before_step, change, here, lowest)
        if not here.momentum:
            moved = before_step
        e = adapted_exponent(straight, e, faulty_max, update_bits)
        while (max(map(abs, after + moved)) >= 2**29 and m >= 2) or m - e > 14:
            after, moved, m = [(w + 2) >> 2 for w in after], [(v + 2) >> 2 for v in moved], m - 2
        aggregate += change
        weights += after
        velocity += moved
        update_exponents.append(e)
        model_exponents.append(m)
    older = [model.update_exponents.tolist(), *model.past_exponents.tolist()][: len(model.past_exponents)]
    state = ModelState(
        np.array(weights, np.int32),
        np.array(update_exponents, np.int8),
        np.array(model_exponents, np.int8),
        np.array(older, np.int8).reshape(model.past_exponents.shape),
        np.array(velocity if model.velocity.size else [], np.int32),
    )
    result = Merge(rule, np.array(aggregate, np.int32), state)
    for array in (result.aggregate, state.weights, state.update_exponents, state.model_exponents):
        array.setflags(write=False)
    return result
