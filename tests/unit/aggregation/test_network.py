"""A sorting network finds the middle of any values, and prunes what the sum doesn't need."""

from __future__ import annotations

import numpy as np
import pytest

from p2pfed.aggregation.network import BLOCK_ELEMENTS, comparators, middle_network, middle_sum


@pytest.mark.parametrize("n", range(1, 12))
def test_every_pruned_network_sums_the_middle_of_every_row_of_zeros_and_ones(n: int) -> None:
    # The 0-1 principle: a network that sorts all 2^n rows of zeros and ones sorts everything.
    rows = [(np.arange(2**n) >> bit & 1).astype(np.int16) for bit in range(n)]
    ranked = np.sort(rows, axis=0)
    for start in range(n):
        for stop in range(start + 1, n + 1):
            assert (middle_sum(rows, start, stop) == ranked[start:stop].sum(0)).all(), (start, stop)


@pytest.mark.parametrize("dtype", [np.int16, np.int32])
@pytest.mark.parametrize(
    "size", [1, BLOCK_ELEMENTS - 1, BLOCK_ELEMENTS, BLOCK_ELEMENTS + 1, 2 * BLOCK_ELEMENTS + 7]
)
def test_blocks_meet_without_gap_or_overlap(dtype: type[np.integer], size: int) -> None:  # type: ignore[type-arg]
    largest = np.iinfo(dtype).max
    rows = np.random.default_rng(size).integers(-largest, largest, (9, size), dtype, endpoint=True)
    before = rows.copy()
    assert (middle_sum(list(rows), 2, 7) == np.sort(rows, 0)[2:7].sum(0, dtype=np.int64)).all()
    assert (rows == before).all(), "the rows are someone else's"


def test_a_sum_of_512_extreme_values_does_not_wrap() -> None:
    rows = [np.full(3, -32767, np.int16)] * 512
    assert middle_sum(rows, 0, 512).tolist() == [-32767 * 512] * 3


def test_a_sum_of_everything_compares_nothing() -> None:
    assert middle_network(16, 0, 16).steps == ()


def test_pruning_drops_a_good_part_of_the_work() -> None:
    whole = 2 * len(list(comparators(16)))
    assert whole == 126
    assert len(middle_network(16, 7, 9).steps) < 0.75 * whole
    assert len(middle_network(16, 5, 11).steps) < 0.85 * whole
