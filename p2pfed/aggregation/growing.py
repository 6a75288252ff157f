"""Inner products of updates that come one by one: little is left to multiply when a block is wanted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from p2pfed.aggregation.gram import partial_gram, self_test
from p2pfed.aggregation.group import ParallelMap, pieces
from p2pfed.types.model import Group, Int16Vector
from p2pfed.types.params import UPDATES_MAX

Tables = Sequence[NDArray[np.int64]]
"""The inner products of some rows, one symmetric table a group."""


class GrowingGram:
    """Rows by name, and the exact inner products of all pairs of them in each group.

    The integers are exact, so the products of any of the rows, in any order, are bit for bit those that one
    pass over these rows gives: it doesn't matter which came first, or which was dropped meanwhile.
    """

    def __init__(self, groups: Sequence[Group]) -> None:
        self._groups = groups
        self._rows: dict[bytes, Int16Vector] = {}  # In the order of the tables.
        self._tables = np.zeros((len(groups), 0, 0), np.int64)

    def __contains__(self, name: bytes) -> bool:
        return name in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, name: bytes) -> Int16Vector:
        return self._rows[name]

    def add(self, rows: Mapping[bytes, Int16Vector], parallel: ParallelMap = map) -> None:
        """Multiply rows with each other and with those that are here; a name that is known is skipped.

        Args:
            rows: int16, shape `(d,)` each; they are kept, not copied. With those here at most UPDATES_MAX.
            parallel: How to map over pieces of groups.
        """
        fresh = {name: row for name, row in rows.items() if name not in self._rows}
        if not fresh:
            return
        self_test()  # Before threads could ask it twice.
        before, count = len(self._rows), len(fresh)
        assert before + count <= UPDATES_MAX
        measured = [*fresh.values(), *self._rows.values()]
        work = [
            (index, group.start + begin, group.start + end)
            for index, group in enumerate(self._groups)
            for begin, end in pieces(group.size)
        ]

        def products_of(piece: tuple[int, int, int]) -> NDArray[np.int64]:
            return partial_gram([row[piece[1] : piece[2]] for row in measured], count)

        tables = np.zeros((len(self._groups), before + count, before + count), np.int64)
        tables[:, :before, :before] = self._tables
        for (index, _, _), part in zip(work, parallel(products_of, work), strict=True):
            table = tables[index]
            table[before:, before:] += part[:, :count]
            table[before:, :before] += part[:, count:]
            table[:before, before:] += part[:, count:].T
        self._tables = tables
        self._rows |= fresh

    def drop(self, names: Iterable[bytes]) -> None:
        """Forget rows; a name that is unknown is skipped."""
        gone = [place for place, name in enumerate(self._rows) if name in frozenset(names)]
        for name in [name for place, name in enumerate(self._rows) if place in frozenset(gone)]:
            del self._rows[name]
        self._tables = np.delete(np.delete(self._tables, gone, 1), gone, 2)

    def of(self, names: Sequence[bytes]) -> Tables:
        """Return the products of these rows in this order; int64, shape `(n, n)` a group.

        Raises:
            KeyError: A name is unknown.
        """
        place = {name: index for index, name in enumerate(self._rows)}
        chosen = [place[name] for name in names]
        return list(self._tables[:, chosen][:, :, chosen])
