"""The rows a rule works on: received rows, scaled and mixed by pre-rules, without a copy of them.

Pre-rules are linear but for one rounding, so the rows they make are never stored: a mixture knows the
factor of each received row and the matrix that mixes them, and blocks of mixed rows are made when they are
merged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from p2pfed.aggregation.fixed import Products
from p2pfed.aggregation.gram import neighbour_sums
from p2pfed.aggregation.rule import Gram, IntRow
from p2pfed.types.params import UPDATES_MAX

FACTOR_BITS = 15
FACTOR_ONE = 1 << FACTOR_BITS  # A row with this factor passes unchanged.


class Mixture(Struct, frozen=True, eq=False):
    """Row i is `sum_j matrix[i, j] * x_j` with `x_j = (q_j * factors[j] + 2^14) >> 15`, in 1/scale update
    units.

    factors: One for each received row, at most FACTOR_ONE; None: all are FACTOR_ONE, no row is rounded.
    matrix: int64, shape `(m, n)`, at least 0; each row sums to `scale`. None: not mixed, m = n.
    scale: At most UPDATES_MAX, so a mixed value is below `2^9 * 2^15 = 2^24`.
    products: Inner products of the m rows before rounding, times `unit`; [] where nobody needs them.
    past: Inner products of the m rows with the aggregate before, times the root of `unit`; None where
        unknown.
    """

    count: int
    factors: tuple[int, ...] | None
    matrix: NDArray[np.int64] | None
    scale: int
    products: Gram
    past: tuple[int, ...] | None

    @property
    def unit(self) -> int:
        return 1 if self.factors is None else FACTOR_ONE * FACTOR_ONE

    @property
    def dtype(self) -> type[np.integer[Any]]:
        """The type of a row's values."""
        return np.int16 if self.matrix is None else np.int32

    def scaled(self, factors: Sequence[int]) -> Mixture:
        """Return the mixture of the same rows times `factors` in units of 2^-15; before any mixing."""
        assert self.matrix is None
        assert self.factors is None
        products = [
            [own * other * inner for other, inner in zip(factors, row, strict=True)]
            for own, row in zip(factors, self.products, strict=True)
        ]
        past = self.past and tuple(factor * inner for factor, inner in zip(factors, self.past, strict=True))
        return Mixture(self.count, tuple(factors), None, 1, products, past)

    def mixed(self, matrix: NDArray[np.int64], scale: int) -> Mixture:
        """Return the mixture whose rows are `matrix` times the rows of this one; its rows sum to `scale`."""
        assert self.scale * scale <= UPDATES_MAX
        products = Products(self.products).between(matrix) if self.products else []
        past = None
        if self.past is not None:
            past = tuple(
                sum(int(factor) * inner for factor, inner in zip(row, self.past, strict=True))
                for row in matrix
            )
        whole = matrix if self.matrix is None else matrix @ self.matrix
        return Mixture(len(matrix), self.factors, whole, self.scale * scale, products, past)

    def received(self, coefficients: Sequence[int]) -> list[int]:
        """Return the coefficients of the received rows that give `sum coefficients[i] * row_i`."""
        if self.matrix is None:
            return list(coefficients)
        return [sum(map(int.__mul__, coefficients, column)) for column in self.matrix.T.tolist()]

    def start(self, wanted: Sequence[int], elements: int) -> Callable[[Sequence[IntRow]], Sequence[IntRow]]:
        """Return a function that makes the rows `wanted` of a block of received rows.

        Its result is good until the next call.

        Args:
            wanted: Which rows of this mixture, ascending.
            elements: Columns of a block, at most.
        """
        factors, matrix = self.factors, self.matrix
        scratch = np.empty((len(factors) if factors else 0, elements), np.int16)
        wide = np.empty(elements if factors else 0, np.int32)
        mix = None if matrix is None else neighbour_sums(matrix[list(wanted)], elements)

        def rows(block: Sequence[IntRow]) -> Sequence[IntRow]:
            if factors is not None:
                size = block[0].size
                block = scale_rows(block, factors, scratch[:, :size], wide[:size])
            return [block[row] for row in wanted] if mix is None else list(mix(block))

        return rows


def scale_rows(
    rows: Sequence[IntRow], factors: Sequence[int], scratch: NDArray[np.int16], wide: NDArray[np.int32]
) -> list[IntRow]:
    """Return `(q * c + 2^14) >> 15` of each row; a row that stays as it is, is not copied.

    Args:
        rows: int16.
        factors: c of each row, at most FACTOR_ONE.
        scratch: Takes the results, shape `(n, columns)`.
        wide: Takes what lies between, shape `(columns,)`.

    Bounds:
        `|q * c| <= 32767 * 2^15`, so int32 holds the product with its rounding; the result is within `|q|`.
    """
    scaled = list(rows)
    for index, factor in enumerate(factors):
        if factor != FACTOR_ONE:
            np.multiply(rows[index], np.int32(factor), out=wide)
            np.add(wide, 1 << (FACTOR_BITS - 1), out=wide)
            np.right_shift(wide, FACTOR_BITS, out=wide)
            scratch[index] = wide
            scaled[index] = scratch[index]
    return scaled
