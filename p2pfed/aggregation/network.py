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

from p2pfed.aggregation.division import Int64Vector
from p2pfed.types.params import UPDATES_MAX

IntRow = NDArray[np.integer[Any]]

BLOCK_ELEMENTS = 1 << 14  # 32 KiB of int16 a register: the registers of 16 rows stay in a 1 MiB cache.
NETWORKS_MAX = 64  # A network meets a handful of (n, f) pairs in its life.


class _Fate(Enum):
    """What becomes of the value on a wire, seen from the network's end."""

    DROPPED = auto()
    SUMMED = auto()
    COMPARED = auto()


class Network(Struct, frozen=True):
    """A program over registers: the first `inputs` are the rows, never written; the others are scratch.

    steps: `(is_maximum, left, right, into)`. `summed`: the registers that hold the result, in any order.
    """

    inputs: int
    registers: int
    steps: tuple[tuple[bool, int, int, int], ...]
    summed: tuple[int, ...]

    def scratch(self, elements: int, dtype: type[np.integer[Any]]) -> list[IntRow]:
        """Return fresh scratch registers of `elements` values."""
        return list(np.empty((self.registers - self.inputs, elements), dtype))

    def run(self, registers: Sequence[IntRow], out: Int64Vector) -> None:
        """Write the sum of the kept order statistics to `out`; rows first, then scratch, of one length."""
        for is_maximum, left, right, into in self.steps:
            operation = np.maximum if is_maximum else np.minimum
            operation(registers[left], registers[right], out=registers[into])
        out[:] = registers[self.summed[0]]
        for register in self.summed[1:]:
            out += registers[register]


def comparators(inputs: int) -> Iterator[tuple[int, int]]:
    """Yield the comparators `(low, high)` of Batcher's odd-even merge sort, for any number of inputs.

    Source:
        Batcher 1968; Knuth, The Art of Computer Programming 3, section 5.2.2, algorithm M.
    """
    run = 1
    while run < inputs:
        step = run
        while step:
            for base in range(step % run, inputs - step, 2 * step):
                for low in range(base, min(base + step, inputs - step)):
                    if low // (2 * run) == (low + step) // (2 * run):
                        yield low, low + step
            step >>= 1
        run <<= 1


def _pruned(inputs: int, start: int, stop: int) -> list[tuple[int, int, bool, bool]]:
    """Return `(low, high, keeps_minimum, keeps_maximum)` of the comparators that the sum depends on.

    Walking backwards: a comparator whose two outputs are both summed, or both dropped, changes nothing.
    """
    fates = [_Fate.SUMMED if start <= rank < stop else _Fate.DROPPED for rank in range(inputs)]
    kept = []
    for low, high in reversed(list(comparators(inputs))):
        if fates[low] is fates[high] and fates[low] is not _Fate.COMPARED:
            continue
        kept.append((low, high, fates[low] is not _Fate.DROPPED, fates[high] is not _Fate.DROPPED))
        fates[low] = fates[high] = _Fate.COMPARED
    return kept[::-1]


@lru_cache(maxsize=NETWORKS_MAX)
def middle_network(inputs: int, start: int, stop: int) -> Network:
    """Return the network that sums the order statistics `start <= rank < stop` of `inputs` values."""
    assert 0 <= start < stop <= inputs <= UPDATES_MAX
    place = list(range(inputs))  # The register that holds each wire's value now.
    free: list[int] = []
    registers = inputs
    steps = []
    for low, high, keeps_minimum, keeps_maximum in _pruned(inputs, start, stop):
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
    return Network(inputs, registers, tuple(steps), tuple(place[start:stop]))


def middle_sum(rows: Sequence[IntRow], start: int, stop: int) -> Int64Vector:
    """Return, for each coordinate, the sum of its values of rank `start` to `stop - 1`; int64, `(d_g,)`.

    Args:
        rows: int16 or int32, shape `(d_g,)` each; at most UPDATES_MAX rows.
    """
    network = middle_network(len(rows), start, stop)
    size = rows[0].size
    scratch = network.scratch(min(size, BLOCK_ELEMENTS), rows[0].dtype.type)
    total = np.empty(size, np.int64)
    for begin in range(0, size, BLOCK_ELEMENTS):
        out = total[begin : begin + BLOCK_ELEMENTS]
        block = slice(begin, begin + out.size)
        network.run([*(row[block] for row in rows), *(register[: out.size] for register in scratch)], out)
    return total
