"""The default rule is a clipped mean among the honest and holds against those who shout, flip or collude."""

from __future__ import annotations

import numpy as np
import pytest

from p2pfed.aggregation.catalogue import DEFAULT_RULE, named_rule
from p2pfed.aggregation.division import RuleSum, model_units
from p2pfed.aggregation.group import MIXED_BLOCK_ELEMENTS, rule_sum
from p2pfed.aggregation.mean import example_weights
from p2pfed.types.model import Int16Vector

HONEST, LIARS, SIZE = 5, 2, MIXED_BLOCK_ELEMENTS + 11


def merged_by(name: str, rows: list[Int16Vector], faulty_max: int) -> RuleSum:
    return rule_sum(named_rule(name), rows, example_weights([1] * len(rows), 0), faulty_max)


def average(merged: RuleSum) -> np.ndarray:  # type: ignore[type-arg]
    return model_units(merged, 0, 0).astype(np.int64)


def honest_rows() -> np.ndarray:  # type: ignore[type-arg]
    generator = np.random.default_rng(8)
    return generator.integers(-300, 301, SIZE) + generator.integers(-100, 101, (HONEST, SIZE))


@pytest.mark.parametrize("lie", ["shout", "flip", "noise", "zero"])
def test_the_aggregate_stays_near_the_honest_mean_where_the_mean_leaves_it(lie: str) -> None:
    honest = honest_rows()
    centre = honest.mean(0)
    lies = {
        "shout": np.full((LIARS, SIZE), 32767),
        "flip": np.tile(-40 * centre, (LIARS, 1)),
        "noise": np.random.default_rng(1).integers(-32767, 32768, (LIARS, SIZE)),
        "zero": np.zeros((LIARS, SIZE)),
    }[lie]
    rows = [row.astype(np.int16) for row in np.concatenate([lies, honest])]
    spread = np.linalg.norm(honest - centre, axis=1).mean()
    robust = np.linalg.norm(average(merged_by(DEFAULT_RULE, rows, LIARS)) - centre)
    assert robust < 1.3 * spread
    if lie != "zero":
        plain = np.linalg.norm(average(merged_by("mean", rows, 0)) - centre)
        assert plain > 10 * spread


def test_without_liars_it_is_the_mean_of_the_clipped_rows() -> None:
    rows = [np.array(row, np.int16) for row in ([3, 4], [6, 8], [30, 40])]
    # Norms 5, 10 and 50; the median is 10: the last row shrinks to a fifth, rounded.
    assert average(merged_by(DEFAULT_RULE, rows, 0)).tolist() == [5, 7]


def test_one_update_is_itself() -> None:
    row = np.array([-32767, 0, 7, 32767], np.int16)
    assert average(merged_by(DEFAULT_RULE, [row], 0)).tolist() == row.tolist()


def test_the_denominator_counts_neighbours_and_kept_rows() -> None:
    rows = [np.full(2, 10, np.int16)] * 7
    merged = merged_by(DEFAULT_RULE, rows, 2)
    assert (merged.denominator, merged.total.tolist()) == (15, [150, 150])
