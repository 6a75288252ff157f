"""What an aggregation rule is: it sees inner products, never rows, and answers with a plan for all columns.

Two families need the rows only twice. A Gram rule looks at the exact inner products of a group's rows and
answers with one coefficient for each row (`Weighted`). A coordinate rule answers with a kernel that merges a
block of columns (`Blockwise`). Both plans are the same for every column, so blocks run in any order and on
any threads and give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from p2pfed.aggregation.division import Sums

Gram = list[list[int]]
IntRow = NDArray[np.integer[Any]]
BlockFunction = Callable[[Sequence[IntRow], Sums], None]
"""`(rows of one block, out)`: writes the sum S of each column to `out`; int64, or int32 where any S fits."""

COEFFICIENT_ONE = 1 << 21  # Coefficients of iterative rules; times 2^9 mixed rows they stay within 2^30.


class Context(Struct, frozen=True):
    """What a rule may look at to decide about one group.

    count: Rows, n; after the pre-rules.
    faulty_max: Rows that may lie, f.
    size: Columns, d_g.
    weights: Integers that sum to 2^30, by examples, one a row; None where pre-rules mixed the rows.
    products: Exact inner products of the rows as they are measured, in 1/`unit` of squared row units. Empty
        unless the rule says `uses_products`.
    unit: `products[i][i] / unit` is the squared norm of row i.
    past: The inner product of each row with the aggregate of the height before, in one common unit; None
        where there is none.
    """

    count: int
    faulty_max: int
    size: int
    weights: Sequence[int] | None
    products: Gram
    unit: int
    past: Sequence[int] | None


class Weighted(Struct, frozen=True):
    """The aggregate is `sum coefficients[i] * row_i / denominator`.

    Bounds:
        Coefficients are at least 0, sum to at most `denominator`, and that is at most 2^21; for rows that no
        pre-rule mixed, 2^30.
    """

    coefficients: Sequence[int]
    denominator: int


class Kernel(Protocol):
    """Merges blocks of columns."""

    def start(self, elements: int, dtype: type[np.integer[Any]]) -> BlockFunction:
        """Return a function for blocks of at most `elements` columns, with scratch of its own."""
        ...


class Blockwise(Struct, frozen=True):
    """The aggregate of each column is the kernel's sum over `denominator`.

    rows: Which rows the kernel gets, ascending.
    """

    kernel: Kernel
    denominator: int
    rows: Sequence[int]


Plan = Weighted | Blockwise


class Rule(Struct, frozen=True):
    """A rule by its name in genesis.

    needs: The bound in words, for people who break it.
    bound: Answers whether n rows with f liars are within the rule's promise and its budget.
    plan: Decides about one group. None: the rule declines, and the next of the genesis list takes over.
    uses_products: It looks at `Context.products`.
    uses_past: It needs the aggregate of the height before.
    by_coordinate: It compares rows one coordinate at a time, so it needs all of them from everybody.
    may_decline: Some updates make `plan` return None, so genesis must list another rule after it.
    """

    name: str
    needs: str
    bound: Callable[[int, int], bool]
    plan: Callable[[Context], Plan | None]
    uses_products: bool = True
    uses_past: bool = False
    may_decline: bool = False
    by_coordinate: bool = False


def has_honest_majority(updates: int, faulty_max: int) -> bool:
    """Answer whether `2f < n`: the bound of most rules, and the limit for any rule at all."""
    return 2 * faulty_max < updates


class Columns:
    """The kernel of a plain function, for rules that are easier to write than fast.

    function: Gets int64 of shape `(rows, columns)`, returns the sum of each column, int64.
    """

    def __init__(self, function: Callable[[NDArray[np.int64]], NDArray[np.int64]]) -> None:
        self._function = function

    def start(self, _elements: int, _dtype: type[np.integer[Any]]) -> BlockFunction:
        def run(rows: Sequence[IntRow], out: Sums) -> None:
            out[:] = self._function(np.array(rows, np.int64))

        return run
