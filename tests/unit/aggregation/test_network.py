"""A sorting network finds the middle of any values, and prunes what the sum doesn't need."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from p2pfed.aggregation.meamed import NearestToMedian
from p2pfed.aggregation.network import SumOfRanks, comparators, ranks_network
from p2pfed.aggregation.rule import IntRow, Kernel


def summed(kernel: Kernel, rows: Sequence[IntRow], elements: int) -> NDArray[np.int64]:
    """Run a kernel over all columns in blocks of at most `elements`."""
    size = rows[0].size
    out = np.empty(size, np.int64)
    run = kernel.start(elements, rows[0].dtype.type)
    for begin in range(0, size, elements):
        end = min(size, begin + elements)
        run([row[begin:end] for row in rows], out[begin:end])
    return out


def middle_sum(rows: Sequence[IntRow], start: int, stop: int) -> NDArray[np.int64]:
    return summed(SumOfRanks(len(rows), start, stop), rows, rows[0].size)


BLOCK = 64
MIXED_MAX = 2**24 - 1


@pytest.mark.parametrize("n", range(1, 12))
def test_every_pruned_network_sums_the_middle_of_every_row_of_zeros_and_ones(n: int) -> None:
    # The 0-1 principle: a network that sorts all 2^n rows of zeros and ones sorts everything.
    rows = [(np.arange(2**n) >> bit & 1).astype(np.int16) for bit in range(n)]
    ranked = np.sort(rows, axis=0)
    for start in range(n):
        for stop in range(start + 1, n + 1):
            assert (middle_sum(rows, start, stop) == ranked[start:stop].sum(0)).all(), (start, stop)


@pytest.mark.parametrize("dtype", [np.int16, np.int32])
@pytest.mark.parametrize("size", [1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 7])
def test_blocks_meet_without_gap_or_overlap(dtype: type[np.integer], size: int) -> None:  # type: ignore[type-arg]
    largest = 32767 if dtype is np.int16 else MIXED_MAX
    rows = np.random.default_rng(size).integers(-largest, largest, (9, size), dtype, endpoint=True)
    before = rows.copy()
    assert (
        summed(SumOfRanks(9, 2, 7), list(rows), BLOCK) == np.sort(rows, 0)[2:7].sum(0, dtype=np.int64)
    ).all()
    assert (rows == before).all(), "the rows are someone else's"


def test_a_sum_of_512_extreme_values_does_not_wrap() -> None:
    rows = [np.full(3, -32767, np.int16)] * 512
    assert middle_sum(rows, 0, 512).tolist() == [-32767 * 512] * 3


@pytest.mark.parametrize("count", [126, 127, 128, 129, 512])
@pytest.mark.parametrize("kernel", [lambda n: SumOfRanks(n, 0, n), lambda n: NearestToMedian(n, 0)])
def test_a_sum_of_extreme_mixed_values_does_not_wrap(count: int, kernel: Callable[[int], Kernel]) -> None:
    # 2^31 lies between the sums of 128 and of 129.
    for sign in (1, -1):
        rows = [np.full(3, sign * MIXED_MAX, np.int32)] * count
        assert summed(kernel(count), rows, 3).tolist() == [sign * MIXED_MAX * count] * 3


def test_a_sum_of_everything_compares_nothing() -> None:
    assert ranks_network(16, 0, 16).steps == ()


def test_pruning_drops_a_good_part_of_the_work() -> None:
    whole = 2 * len(list(comparators(16)))
    assert whole == 126
    assert len(ranks_network(16, 7, 9).steps) < 0.75 * whole
    assert len(ranks_network(16, 5, 11).steps) < 0.85 * whole


@pytest.mark.parametrize("n", range(1, 9))
def test_every_rank_can_be_wanted_by_itself(n: int) -> None:
    rows = [(np.arange(2**n) >> bit & 1).astype(np.int16) for bit in range(n)]
    ranked = np.sort(rows, axis=0)
    for apart in (tuple(range(n)), tuple(range(0, n, 2)), (n // 2,)):
        network = ranks_network(n, 0, n, apart)
        registers = [*rows, *network.scratch(2**n, np.int16)]
        network.run(registers)
        for rank in apart:
            assert (registers[network.places[rank]] == ranked[rank]).all(), (apart, rank)
        rest = [registers[network.places[rank]].astype(int) for rank in network.summed]
        assert (sum(rest, np.zeros(2**n, int)) == ranked.sum(0) - ranked[list(apart)].sum(0)).all()


@pytest.mark.parametrize("dtype", [np.int16, np.int32])
@pytest.mark.parametrize(("n", "dropped"), [(1, 0), (2, 0), (5, 2), (8, 3), (7, 4), (9, 6)])
def test_the_values_nearest_to_the_median_are_summed(dtype: type[np.integer], n: int, dropped: int) -> None:  # type: ignore[type-arg]
    largest = 32767 if dtype is np.int16 else MIXED_MAX
    generator = np.random.default_rng(n)
    rows = generator.choice([-largest, -3, -2, 0, 1, 2, 3, largest], (n, 300)).astype(dtype)
    expected = []
    for column in rows.T.tolist():
        column.sort()
        twice = column[(n - 1) // 2] + column[n // 2]
        expected.append(sum(sorted(column, key=lambda value: (abs(2 * value - twice), value))[: n - dropped]))
    assert summed(NearestToMedian(n, dropped), list(rows), BLOCK).tolist() == expected
