"""Sum the middle order statistics of each coordinate with a pruned sorting network.

A network is a fixed list of minima and maxima over whole rows: no branches, no transposed copy of the rows,
and the same work for any data, so no update can make an aggregation slow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum, auto
from functools import lru_cache
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from p2pfed.aggregation.division import Sums
from p2pfed.aggregation.rule import BlockFunction, IntRow
from p2pfed.types.params import UPDATES_MAX

NETWORKS_MAX = 64  # A network meets a handful of (n, f) pairs in its life.


class _Fate(Enum):
    """What becomes of the value on a wire, seen from the network's end."""

    DROPPED = auto()
    SUMMED = auto()
    COMPARED = auto()


class Network(Struct, frozen=True):
    """A program over registers: the first `inputs` are the rows, never written; the others are scratch.

    steps: `(is_maximum, left, right, into)`.
    places: The register of each order statistic at the end; of no meaning for one that is dropped.
    summed: The ranks whose sum is wanted, which may be mixed up among each other.
    """

    inputs: int
    registers: int
    steps: tuple[tuple[bool, int, int, int], ...]
    places: tuple[int, ...]
    summed: tuple[int, ...]

    def scratch(self, elements: int, dtype: type[np.integer[Any]]) -> list[IntRow]:
        """Return fresh scratch registers of `elements` values."""
        return list(np.empty((self.registers - self.inputs, elements), dtype))

    def run(self, registers: Sequence[IntRow]) -> None:
        """Bring the order statistics to their places; rows first, then scratch, all of one length."""
        for is_maximum, left, right, into in self.steps:
            operation = np.maximum if is_maximum else np.minimum
            operation(registers[left], registers[right], out=registers[into])


class SumOfRanks:
    """The kernel that sums the order statistics `start <= rank < stop` of `count` rows."""

    def __init__(self, count: int, start: int, stop: int) -> None:
        self._network = ranks_network(count, start, stop)

    def start(self, elements: int, dtype: type[np.integer[Any]]) -> BlockFunction:
        network = self._network
        scratch = network.scratch(elements, dtype)
        sums = np.empty(elements, accumulator(dtype, len(network.summed)))

        def run(rows: Sequence[IntRow], out: Sums) -> None:
            registers = [*rows, *(register[: out.size] for register in scratch)]
            network.run(registers)
            middle = [registers[network.places[rank]] for rank in network.summed]
            if out.dtype == sums.dtype:
                add_up(middle, out)
            else:
                out[:] = add_up(middle, sums[: out.size])

        return run


def accumulator(dtype: type[np.integer[Any]], count: int) -> type[np.signedinteger[Any]]:
    """Return the narrowest type that holds a sum of `count` values, which is added up fastest.

    Bounds:
        int32 holds `2^9 * 2^15` of int16 and `127 * 2^24` of mixed rows, int64 `2^9 * 2^24`.
    """
    return np.int32 if dtype is np.int16 or count < 1 << 7 else np.int64


def add_up(rows: Sequence[IntRow], out: NDArray[np.signedinteger[Any]]) -> NDArray[np.signedinteger[Any]]:
    """Write the sum of `rows` to `out` and return it."""
    if len(rows) == 1:
        out[:] = rows[0]
        return out
    np.add(rows[0], rows[1], out=out, dtype=out.dtype)
    for row in rows[2:]:
        out += row
    return out


def comparators(inputs: int) -> Iterator[tuple[int, int]]:
    """Yield the comparators `(low, high)` of the pairwise sorting network, for any number of inputs.

    It has as many as Batcher's odd-even merge sort, but pruned to the middle ranks it keeps fewer: 86 minima
    and maxima of 90 for the median of 16, 1,452 of 1,696 for that of 100.

    Source:
        Parberry 1992, The Pairwise Sorting Network; Codish and Zazon-Ivry 2010 for selection.
    """
    step = 1
    while step < inputs:
        yield from _between_blocks(inputs, 0, step, step)
        step *= 2
    step //= 4
    widest = 1
    while step:
        far = widest
        while far:
            yield from _between_blocks(inputs, step, step, far * step)
            far //= 2
        step //= 2
        widest = 2 * widest + 1


def _between_blocks(inputs: int, start: int, block: int, far: int) -> Iterator[tuple[int, int]]:
    """Yield comparators of every second block of wires, from `start` on, with the wires `far` above them."""
    for base in range(start, inputs - far, 2 * block):
        for low in range(base, min(base + block, inputs - far)):
            yield low, low + far


def _pruned(inputs: int, fates: list[_Fate]) -> list[tuple[int, int, bool, bool]]:
    """Return `(low, high, keeps_minimum, keeps_maximum)` of the comparators that the result depends on.

    Walking backwards: a comparator whose two outputs are both summed, or both dropped, changes nothing.
    """
    kept = []
    for low, high in reversed(list(comparators(inputs))):
        if fates[low] is fates[high] and fates[low] is not _Fate.COMPARED:
            continue
        kept.append((low, high, fates[low] is not _Fate.DROPPED, fates[high] is not _Fate.DROPPED))
        fates[low] = fates[high] = _Fate.COMPARED
    return kept[::-1]


@lru_cache(maxsize=NETWORKS_MAX)
def ranks_network(inputs: int, start: int, stop: int, apart: tuple[int, ...] = ()) -> Network:
    """Return the network for the sum of the order statistics `start <= rank < stop`, and for those of
    `apart`.

    Args:
        inputs: Rows.
        start: The first rank of the sum.
        stop: The rank after its last; no more than `start` where no sum is wanted.
        apart: Ranks that are wanted each by itself; they are no part of the sum.
    """
    assert 0 <= start <= inputs <= UPDATES_MAX
    assert 0 < stop <= inputs
    fates = [_Fate.DROPPED] * inputs
    summed = tuple(rank for rank in range(start, stop) if rank not in apart)
    for rank in summed:
        fates[rank] = _Fate.SUMMED
    for rank in apart:
        fates[rank] = _Fate.COMPARED
    place = list(range(inputs))  # The register that holds each wire's value now.
    free: list[int] = []
    registers = inputs
    steps = []
    for low, high, keeps_minimum, keeps_maximum in _pruned(inputs, fates):
        left, right = place[low], place[high]
        spare = [register for register in (left, right) if register >= inputs]
        for is_maximum, wire, is_kept in ((False, low, keeps_minimum), (True, high, keeps_maximum)):
            if not is_kept:
                continue
            # Only the last reader of two registers may overwrite one of them.
            if spare and (is_maximum or not keeps_maximum):
                into = spare.pop()
            elif free:
                into = free.pop()
            else:
                into, registers = registers, registers + 1
            steps.append((is_maximum, left, right, into))
            place[wire] = into
        free += spare
    return Network(inputs, registers, tuple(steps), tuple(place), summed)
