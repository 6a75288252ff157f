"""The rules that weigh rows, in plain Python integers on whole rows; the second half of `reference_rules`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from math import isqrt

from p2pfed.aggregation.reference_rules import (
    Fraction,
    Row,
    Rows,
    bulyan,
    combined,
    inner,
    krum,
    less,
    mda,
    meamed,
    mean,
    median,
    monna,
    multi_krum,
    sign_majority,
    trimmed_mean,
)

ONE, COARSE = 1 << 30, 1 << 21
Matrix = list[list[int]]


def shares(values: Sequence[int], whole: int) -> list[int]:
    """Return integers that sum to `whole`, by largest remainder, lower rows first among equals."""
    total = sum(values)
    result = [value * whole // total for value in values]
    while sum(result) < whole:
        neediest = max(range(len(values)), key=lambda row: values[row] * whole - result[row] * total)
        result[neediest] += 1
    return result


def weighted(rows: Rows, coefficients: Sequence[int]) -> Fraction:
    return combined(coefficients, rows.summed), COARSE


def lengths_from(rows: Rows, coefficients: Sequence[int]) -> list[int]:
    point = combined(coefficients, rows.measured)
    ways = [less([ONE * q for q in row], point) for row in rows.measured]
    return [isqrt(inner(way, way)) for way in ways]


def geometric_median(rows: Rows, _faulty_max: int) -> Fraction:
    coefficients = shares([1] * len(rows.summed), ONE)
    for _ in range(8):
        lengths = [max(1, length) for length in lengths_from(rows, coefficients)]
        coefficients = shares([max(lengths) * ONE // length for length in lengths], ONE)
    return weighted(rows, shares(coefficients, COARSE))


def centred_clipping(rows: Rows, _faulty_max: int) -> Fraction:
    n = len(rows.summed)
    coefficients = [0] * n
    for _ in range(3):
        lengths = lengths_from(rows, coefficients)
        radius = sorted(lengths)[n // 2]
        pulls = [ONE if length <= radius else radius * ONE // length for length in lengths]
        rest = n * ONE - sum(pulls)
        coefficients = [
            (own * rest + pull * ONE) // (n * ONE) for own, pull in zip(coefficients, pulls, strict=True)
        ]
    return weighted(rows, shares(coefficients, sum(coefficients) * COARSE // ONE))


def cosine_to_previous(rows: Rows, _faulty_max: int) -> Fraction | None:
    assert rows.past is not None
    norms = rows.norms()
    limit = sorted(norms)[len(norms) // 2]
    cosines, cuts = [], []
    for row, norm in zip(rows.measured, norms, strict=True):
        both = isqrt(inner(row, row) * inner(rows.past, rows.past))
        cosines.append(min(ONE, max(0, inner(row, rows.past)) * ONE // both) if both else 0)
        cuts.append(ONE if norm <= limit else limit * ONE // norm)
    if not sum(cosines):
        return None
    whole = sum(cosines) * ONE
    return weighted(rows, [a * b * COARSE // whole for a, b in zip(cosines, cuts, strict=True)])


def log2(value: int) -> int:
    """Return 2^16 times the binary logarithm, digit by digit."""
    digits = value.bit_length() - 1
    mantissa = (value << 32) >> digits
    for _ in range(16):
        mantissa = mantissa**2 >> 32
        digits *= 2
        if mantissa >= 2**33:
            digits, mantissa = digits + 1, mantissa // 2
    return digits


def foolsgold(rows: Rows, _faulty_max: int) -> Fraction | None:
    n = len(rows.summed)
    if n == 1:
        return rows.summed[0], 1
    squares = [inner(row, row) for row in rows.measured]
    alike = [[0] * n for _ in range(n)]
    for a in range(n):
        for b in range(n):
            both = isqrt(squares[a] * squares[b])
            if a != b and both:
                alike[a][b] = min(2**15, max(0, inner(rows.measured[a], rows.measured[b])) * 2**15 // both)
    most = [max(row) for row in alike]
    left = []
    for a in range(n):
        pardoned = [alike[a][b] * most[a] // most[b] if most[b] > most[a] else alike[a][b] for b in range(n)]
        left.append(2**15 - max(pardoned))
    if not max(left):
        return None
    trust = []
    for value in left:
        part = min(value * 2**15 // max(left), 2**15 * 99 // 100)
        odds = ((log2(part) - log2(2**15 - part)) * 45426) >> 17 if part else -(2**15)
        trust.append(max(0, min(2**15, odds + 2**14)))
    return weighted(rows, shares(trust, COARSE)) if any(trust) else None


def narrowed(matrix: Matrix, bits: int) -> tuple[Matrix, int]:
    """Return the matrix shifted right by the least that brings absolute values to so many bits."""
    shift = max(0, max(abs(value) for row in matrix for value in row).bit_length() - bits)
    return [[value >> shift for value in row] for row in matrix], shift


def times(first: Matrix, second: Matrix) -> Matrix:
    return [[inner(row, list(column)) for column in zip(*second, strict=True)] for row in first]


def products_around(rows: list[Row], weights: Sequence[int]) -> Matrix:
    """Return W^2 times the inner products of rows less their weighted mean, W the sum of the weights."""
    middle = combined(weights, rows)
    ways = [less([sum(weights) * q for q in row], middle) for row in rows]
    return [[inner(a, b) for b in ways] for a in ways]


def smea(rows: Rows, f: int) -> Fraction:
    n = len(rows.summed)
    everyone, _ = narrowed(products_around(rows.measured, [1] * n), 40)
    best = -1
    winner: tuple[int, ...] = ()
    for some in combinations(range(n), n - f):
        k = len(some)
        sums = {a: sum(everyone[a][b] for b in some) for a in some}
        total = sum(sums.values())
        scatter, shift = narrowed(
            [[k * k * everyone[a][b] - k * (sums[a] + sums[b]) + total for b in some] for a in some], 22
        )
        power = scatter
        for _ in range(8):
            power, _ = narrowed(times(power, power), 22)
        trace = sum(power[place][place] for place in range(k))
        value = sum(inner(a, b) for a, b in zip(scatter, power, strict=True))
        score = (value << shift + 24) // trace if trace > 0 else 0
        if best < 0 or score < best:
            best, winner = score, some
    return rows.average(winner)


def scaled_columns(matrix: Matrix, weights: Sequence[int]) -> Matrix:
    """Return the matrix with each column times its weight in units of 2^-20, rounded down."""
    return [[value * weight >> 20 for value, weight in zip(row, weights, strict=True)] for row in matrix]


def caf(rows: Rows, f: int) -> Fraction:
    n, one = len(rows.summed), 1 << 20
    weights = chosen = [one] * n
    best = -1
    while sum(weights) > (n - 2 * f) * one:
        products, shift = narrowed(products_around(rows.measured, weights), 22)
        power = products
        for _ in range(8):
            power, _ = narrowed(times(scaled_columns(power, weights), power), 22)
        left = [[value * weight >> 20 for value in row] for row, weight in zip(power, weights, strict=True)]
        right = scaled_columns(products, weights)
        trace = sum(left[row][row] for row in range(n))
        value = sum(inner(a, b) for a, b in zip(left, right, strict=True))
        score = (value << shift + 64) // (trace * sum(weights) ** 3) if trace > 0 and value > 0 else 0
        if best < 0 or score < best:
            best, chosen = score, weights
        seen = [max(0, power[row][row]) for row in range(n)]
        most = max(seen[row] for row in range(n) if weights[row])
        if not most:
            break
        weights = [weight * max(0, most - t) // most for weight, t in zip(weights, seen, strict=True)]
    return weighted(rows, shares(chosen, COARSE))


RULES: dict[str, Callable[[Rows, int], Fraction | None]] = {
    "mean": mean,
    "median": median,
    "trimmed_mean": trimmed_mean,
    "meamed": meamed,
    "krum": krum,
    "multi_krum": multi_krum,
    "bulyan": bulyan,
    "mda": mda,
    "monna": monna,
    "geometric_median": geometric_median,
    "centred_clipping": centred_clipping,
    "caf": caf,
    "smea": smea,
    "cosine_to_previous": cosine_to_previous,
    "foolsgold": foolsgold,
    "sign_majority": sign_majority,
}
