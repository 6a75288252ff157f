"""Every rule and pre-rule once more, in plain Python integers on whole rows: what the fast kernels must
equal.

Part of `reference`: written from docs/spec/numerics.md alone, sharing no arithmetic with the kernels. Only
the dice are shared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from math import isqrt

from msgspec import Struct

from p2pfed.aggregation.dice import permutation

Row = list[int]
Fraction = tuple[Row, int]  # A sum for each coordinate, and the one denominator of all.


class Rows(Struct):
    """What a rule gets.

    summed: The rows that are merged, `scale` times too large.
    measured: The same rows before the clip rounded them, `unit` times longer: what distances are taken of.
    weights: By examples, None once rows are mixed.
    past: The aggregate before, None where there is none.
    """

    summed: list[Row]
    measured: list[Row]
    scale: int
    unit: int
    weights: list[int] | None
    past: Row | None

    def average(self, chosen: Sequence[int]) -> Fraction:
        return added([self.summed[row] for row in chosen]), len(chosen)

    def distances(self) -> list[list[int]]:
        return [[inner(less(a, b), less(a, b)) for b in self.measured] for a in self.measured]

    def norms(self) -> list[int]:
        return [isqrt(inner(row, row)) for row in self.measured]


def added(rows: Sequence[Row]) -> Row:
    return [sum(column) for column in zip(*rows, strict=True)]


def less(first: Row, second: Row) -> Row:
    return [a - b for a, b in zip(first, second, strict=True)]


def inner(first: Row, second: Row) -> int:
    return sum(a * b for a, b in zip(first, second, strict=True))


def combined(weights: Sequence[int], rows: Sequence[Row]) -> Row:
    return [inner(list(weights), list(column)) for column in zip(*rows, strict=True)]


def ranked(keys: Sequence[int]) -> list[int]:
    return sorted(range(len(keys)), key=lambda row: (keys[row], row))


# --- pre-rules ---


def scaled(rows: Rows, limit: int) -> Rows:
    factors = [2**15 if norm <= limit else limit * 2**15 // norm for norm in rows.norms()]
    measured = [[factor * q for q in row] for factor, row in zip(factors, rows.measured, strict=True)]
    summed = [[(value + 2**14) >> 15 for value in row] for row in measured]
    return Rows(summed, measured, 1, 2**15, rows.weights, rows.past)


def clip(rows: Rows, _faulty_max: int, _seed: bytes) -> Rows:
    return scaled(rows, sorted(rows.norms())[len(rows.summed) // 2])


def arc(rows: Rows, f: int, _seed: bytes) -> Rows:
    n = len(rows.summed)
    return scaled(rows, sorted(rows.norms(), reverse=True)[2 * f * (n - f) // n])


def mixed(rows: Rows, members: list[list[int]]) -> Rows:
    summed = [added([rows.summed[row] for row in some]) for some in members]
    measured = [added([rows.measured[row] for row in some]) for some in members]
    return Rows(summed, measured, rows.scale * len(members[0]), rows.unit, None, rows.past)


def bucketing(rows: Rows, _faulty_max: int, seed: bytes) -> Rows:
    order = permutation(seed, "bucketing", len(rows.summed))
    pairs = [order[place : place + 2] for place in range(0, len(order), 2)]
    return mixed(rows, [pair if len(pair) == 2 else [pair[0], pair[0]] for pair in pairs])


def nnm(rows: Rows, f: int, _seed: bytes) -> Rows:
    kept = len(rows.summed) - f
    return mixed(rows, [ranked(between)[:kept] for between in rows.distances()])


PRE_RULES: dict[str, Callable[[Rows, int, bytes], Rows]] = {
    "clip": clip, "arc": arc, "bucketing": bucketing, "nnm": nnm,
}  # fmt: skip


# --- rules by coordinate, and rules that choose rows ---


def mean(rows: Rows, _faulty_max: int) -> Fraction:
    if rows.weights is None:
        return rows.average(range(len(rows.summed)))
    return combined(rows.weights, rows.summed), 1 << 30


def median(rows: Rows, _faulty_max: int) -> Fraction:
    n = len(rows.summed)
    columns = [sorted(column) for column in zip(*rows.summed, strict=True)]
    if n % 2:
        return [column[n // 2] for column in columns], 1
    return [column[n // 2 - 1] + column[n // 2] for column in columns], 2


def trimmed_mean(rows: Rows, f: int) -> Fraction:
    n = len(rows.summed)
    return [sum(sorted(column)[f : n - f]) for column in zip(*rows.summed, strict=True)], n - 2 * f


def nearest_to_median(rows: list[Row], kept: int) -> Fraction:
    sums = []
    for column in zip(*rows, strict=True):
        values = sorted(column)
        twice = values[(len(values) - 1) // 2] + values[len(values) // 2]
        ways = sorted((abs(2 * value - twice), value) for value in values)
        sums.append(sum(value for _, value in ways[:kept]))
    return sums, kept


def meamed(rows: Rows, f: int) -> Fraction:
    return nearest_to_median(rows.summed, len(rows.summed) - f)


def sign_majority(rows: Rows, _faulty_max: int) -> Fraction:
    squares = sorted(inner(row, row) for row in rows.measured)
    middle = squares[len(squares) // 2]
    step = isqrt((middle << 16) // (rows.unit**2 * len(rows.summed[0])))
    votes = [sum((q > 0) - (q < 0) for q in column) for column in zip(*rows.summed, strict=True)]
    return [step * ((vote > 0) - (vote < 0)) for vote in votes], 1 << 8


def krum_order(between: list[list[int]], some: Sequence[int], f: int) -> list[int]:
    scores = [sum(sorted(between[row][other] for other in some)[: len(some) - f]) for row in some]
    return [some[place] for place in ranked(scores)]


def krum(rows: Rows, f: int) -> Fraction:
    return rows.average(krum_order(rows.distances(), range(len(rows.summed)), f)[:1])


def multi_krum(rows: Rows, f: int) -> Fraction:
    n = len(rows.summed)
    return rows.average(krum_order(rows.distances(), range(n), f)[: n - f])


def bulyan(rows: Rows, f: int) -> Fraction:
    n, between = len(rows.summed), rows.distances()
    left = list(range(n))
    chosen: list[int] = []
    while len(chosen) < n - 2 * f:
        chosen.append(krum_order(between, left, f)[0])
        left.remove(chosen[-1])
    return nearest_to_median([rows.summed[row] for row in chosen], n - 4 * f)


def mda(rows: Rows, f: int) -> Fraction:
    n, between = len(rows.summed), rows.distances()
    sets = combinations(range(n), n - f)
    return rows.average(min(sets, key=lambda some: max(between[a][b] for a in some for b in some)))


def monna(rows: Rows, f: int) -> Fraction:
    between, kept = rows.distances(), len(rows.summed) - f
    pivot = ranked([sorted(row)[kept - 1] for row in between])[0]
    return rows.average(ranked(between[pivot])[:kept])
