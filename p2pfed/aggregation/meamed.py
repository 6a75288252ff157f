"""Mean around the median: of each coordinate, average the n - f values nearest to its median."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from p2pfed.aggregation.division import Sums
from p2pfed.aggregation.network import accumulator, add_up, ranks_network
from p2pfed.aggregation.rule import BlockFunction, Blockwise, Context, IntRow, Rule, has_honest_majority


class NearestToMedian:
    """The kernel that sums all but the `dropped` values farthest from the median; the lower of two equals
    stays.

    Sorted, the values kept are neighbours. The window starts at the lowest and moves up one place while the
    value it leaves is farther from the median than the one it wins: `m - v[k] > v[k + kept] - m`. Once false
    that stays false, so every place is decided by itself, without a branch.
    """

    def __init__(self, count: int, dropped: int) -> None:
        self._kept, self._dropped = count - dropped, dropped
        self._middle = ((count - 1) // 2, count // 2)
        leaving, winning = range(dropped), range(self._kept, count)
        apart = tuple(sorted({*leaving, *winning, *self._middle}))
        self._network = ranks_network(
            count, dropped if dropped < self._kept else self._kept, self._kept, apart
        )

    def start(self, elements: int, dtype: type[np.integer[Any]]) -> BlockFunction:
        network, kept, wide = self._network, self._kept, accumulator(dtype, max(self._kept, 2))
        scratch = network.scratch(elements, dtype)
        work = np.empty((4, elements), wide)
        moves = np.empty(elements, np.bool_)
        low, high = self._middle

        def run(rows: Sequence[IntRow], out: Sums) -> None:
            registers = [*rows, *(register[: out.size] for register in scratch)]
            network.run(registers)
            value = [registers[place] for place in network.places]
            total, twice, outer, gain = work[:, : out.size]
            add_up([value[rank] for rank in range(kept)], total)
            np.add(value[low], value[high], out=twice, dtype=wide)
            for rank in range(self._dropped):
                np.add(value[rank], value[rank + kept], out=outer, dtype=wide)
                np.greater(twice, outer, out=moves[: out.size])
                np.subtract(value[rank + kept], value[rank], out=gain, dtype=wide)
                gain *= moves[: out.size]
                total += gain
            out[:] = total

        return run


def meamed(context: Context) -> Blockwise:
    """Average the n - f values nearest to the median of each coordinate.

    Bounds:
        As the trimmed mean: below 2^33; a difference of two values below 2^25.

    Breakdown:
        2f < n.

    Source:
        Xie et al. 2018, Definition 7 (arXiv:1802.10116).
    """
    n, faulty_max = context.count, context.faulty_max
    return Blockwise(NearestToMedian(n, faulty_max), n - faulty_max, range(n))


MEAMED = Rule("meamed", "2f < n", has_honest_majority, meamed, uses_products=False, by_coordinate=True)
