"""Rules that look at inner products leave out whom they should, on examples that can be done by hand."""

from __future__ import annotations

from itertools import combinations
from math import log

import numpy as np
import pytest

from p2pfed.aggregation import mda as mda_room
from p2pfed.aggregation import reference
from p2pfed.aggregation import smea as smea_room
from p2pfed.aggregation.bulyan import chosen_rows
from p2pfed.aggregation.catalogue import named_rule, rule_names
from p2pfed.aggregation.centred_clipping import centred_clipping
from p2pfed.aggregation.fixed import distances
from p2pfed.aggregation.foolsgold import trust
from p2pfed.aggregation.gram import gram
from p2pfed.aggregation.group import rule_sum
from p2pfed.aggregation.krum import krum_scores
from p2pfed.aggregation.mda import closest_rows
from p2pfed.aggregation.mean import example_weights
from p2pfed.aggregation.monna import pivot_row
from p2pfed.aggregation.rule import Context, Weighted
from p2pfed.aggregation.smea import is_affordable

UNPROTECTED = ("mean", "foolsgold", "cosine_to_previous")


def on_a_line(points: list[int]) -> list[list[int]]:
    return distances([[a * b for b in points] for a in points])


def context(points: list[list[int]], f: int, past: tuple[int, ...] | None = None) -> Context:
    products = [[sum(a * b for a, b in zip(x, y, strict=True)) for y in points] for x in points]
    return Context(len(points), f, len(points[0]), None, products, 1, past)


def weights_of(name: str, points: list[list[int]], f: int, past: tuple[int, ...] | None = None) -> list[int]:
    plan = named_rule(name).rule.plan(context(points, f, past))
    assert isinstance(plan, Weighted)
    return list(plan.coefficients)


def merged(name: str, points: list[int], f: int) -> tuple[int, int]:
    """Return the sum and the denominator of the only column."""
    rows = [np.array([point], np.int16) for point in points]
    result = rule_sum(named_rule(name), rows, example_weights([1] * len(rows), 0), f)
    return int(result.total[0]), result.denominator


def test_krum_counts_the_row_itself_and_takes_the_first_of_equals() -> None:
    assert krum_scores(on_a_line([0, 1, 3, 10]), 1) == [10, 5, 13, 130]
    assert merged("krum", [0, 1, 3, 10], 1) == (1, 1)
    assert merged("krum", [2, 0, 2, 0], 1) == (2, 1)
    assert merged("multi_krum", [0, 1, 3, 10], 1) == (4, 3)


def test_bulyan_asks_krum_again_without_the_rows_it_chose() -> None:
    points = [0, 1, 2, 3, 4, 100, -100]
    assert chosen_rows(on_a_line(points), 1) == [0, 1, 2, 3, 4]
    assert merged("bulyan", points, 1) == (6, 3)


def test_mda_takes_the_rows_that_are_nearest_together() -> None:
    assert closest_rows(on_a_line([9, 0, 1, 8, 2]), 2) == [1, 2, 4]
    assert closest_rows(on_a_line([5, 5, 5]), 1) == [0, 1]
    assert closest_rows(on_a_line([0, 4, 8, 12]), 1) == [0, 1, 2]


@pytest.mark.parametrize("seed", range(6))
def test_mda_finds_the_first_of_the_best_of_all_sets(seed: int) -> None:
    generator = np.random.default_rng(seed)
    n, f = 9, 4
    between = distances(gram(list(generator.integers(-3, 4, (n, 4)).astype(np.int16))))
    sets = combinations(range(n), n - f)
    best = min(sets, key=lambda some: max(between[a][b] for a in some for b in some))
    assert closest_rows(between, f) == list(best)


def test_mda_declines_when_its_steps_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(1).integers(-99, 100, (12, 5)).tolist()
    assert named_rule("mda").rule.plan(context(points, 5)) is not None
    monkeypatch.setattr(mda_room, "STEPS_MAX", 5)
    assert named_rule("mda").rule.plan(context(points, 5)) is None


def test_crafted_rows_cannot_keep_mda_busy_for_long() -> None:
    # Far pairs that form triangles: every cover of one takes two rows, and each choice looks as good.
    n, f = 90, 44
    far = [[4 if a != b and a // 3 == b // 3 else 1 for b in range(n)] for a in range(n)]
    between = [[0 if a == b else far[a][b] for b in range(n)] for a in range(n)]
    search = mda_room._Search()
    with pytest.raises(mda_room._OutOfSteps):
        search.has_cover(mda_room._far(between, 1), (1 << n) - 1, 59)
    assert search._steps == mda_room.STEPS_MAX + 1
    assert closest_rows(between, f) is not None  # 44 rows can't cover 30 triangles, which is seen at once.


def test_monna_pivots_on_the_centre_of_the_crowd() -> None:
    assert pivot_row(on_a_line([100, 0, 2, 4, -100]), 3) == 2
    assert merged("monna", [100, 0, 2, 4, -100], 2) == (6, 3)


def test_the_geometric_median_stays_with_the_majority() -> None:
    total, denominator = merged("geometric_median", [0, 0, 0, 30000], 1)
    assert 0 <= total < 30 * denominator
    assert merged("geometric_median", [7, 7, 7], 1)[0] == 7 * (1 << 21)


def test_centred_clipping_walks_to_the_crowd_and_stops() -> None:
    plan = centred_clipping(context([[100], [100], [100], [30000]], 1))
    assert sum(plan.coefficients) <= plan.denominator
    total, denominator = merged("centred_clipping", [100, 100, 100, 30000], 1)
    assert 99 * denominator < total < 200 * denominator


def test_caf_weighs_a_far_row_down_to_nothing() -> None:
    weights = weights_of("caf", [[10, 0], [0, 10], [-10, 0], [0, -10], [9000, 9000]], 1)
    assert weights[4] == 0
    assert min(weights[:4]) > 0
    assert weights_of("caf", [[1], [2], [4]], 0) == [699051, 699051, 699050]  # Nobody lies: the mean.


def test_smea_takes_the_set_that_varies_least_in_its_worst_direction() -> None:
    # Around the origin all differ by 10 in two directions; the last differs by 14 in one.
    assert weights_of("smea", [[10, 0], [-10, 0], [0, 10], [0, -10], [400, 3]], 1) == [1, 1, 1, 1, 0]
    assert weights_of("smea", [[5], [5], [5]], 1) == [1, 1, 0]
    assert is_affordable(16, 7)
    assert is_affordable(512, 0)  # 512^3 is 2^27.
    assert not is_affordable(100, 2)


def test_smea_finds_the_best_set_in_whatever_portions_it_tries_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for portion in (1, 2, 3):
        monkeypatch.setattr(smea_room, "CHUNK_MAX", portion)
        for place in range(5):
            points = [[10, 0], [-10, 0], [0, 10], [0, -10]]
            points.insert(place, [400, 3])
            assert weights_of("smea", points, 1) == [int(row != place) for row in range(5)]


def test_of_equal_sets_beyond_the_first_chunk_smea_takes_the_first() -> None:
    assert weights_of("smea", [[5, -1]] * 12, 5) == [1] * 7 + [0] * 5  # 792 sets.


def test_a_row_that_caf_gave_up_no_longer_counts_as_the_farthest() -> None:
    points = [[9000, 9000], [-80, 10], [70, -20], [5, 60], [-8, -50], [900, -700], [30, 31]]
    plain = reference.apply(("caf",), points, [1] * 7, 2, bytes(32), None)
    rows = [np.array(point, np.int16) for point in points]
    result = rule_sum(named_rule("caf"), rows, [1] * 7, 2)
    assert [value * plain[1] for value in result.total.tolist()] == [q * result.denominator for q in plain[0]]
    weights = weights_of("caf", points, 2)
    assert (weights[0], weights[5]) == (0, 0)


def test_foolsgold_lets_look_alikes_share_nothing_and_declines_where_all_are_alike() -> None:
    clones = [[100, 0, 3], [100, 0, 3], [0, 50, -2], [-70, 1, 60]]
    weights = weights_of("foolsgold", clones, 0)
    assert weights[:2] == [0, 0]
    assert min(weights[2:]) > 0
    assert named_rule("foolsgold").rule.plan(context([[1, 2]] * 3, 0)) is None
    assert trust([[0]]) == [2**15]
    assert weights_of("foolsgold", [[4]], 0) == [1]
    weights = weights_of("foolsgold", [[0, 0], [1, 0], [0, 1]], 0)  # Nothing is like nobody.
    assert max(weights) - min(weights) <= 1


def test_foolsgold_pardons_who_is_like_one_that_is_more_like_another() -> None:
    part = 2**15 // 10
    similar = [[0, 7 * part, 5 * part], [7 * part, 0, 0], [5 * part, 0, 0]]
    # The third is pardoned to 5/7 of its likeness of 0.5, so 0.643 is left of it; of the others 0.3.
    weights = trust(similar)
    assert weights is not None
    expected = log(0.3 / 0.643 / (1 - 0.3 / 0.643)) + 0.5
    assert weights[0] == weights[1] == pytest.approx(expected * 2**15, rel=0.02)
    assert weights[2] == 2**15


def test_caf_weighs_equal_rows_alike() -> None:
    weights = weights_of("caf", [[5, -1]] * 4, 1)
    assert weights == [weights[0]] * 4


def test_cosine_trusts_who_keeps_the_direction_and_cuts_the_long() -> None:
    # The aggregate before was (10, 0).
    points = [[10, 0], [0, 10], [-10, 0], [1000, 0]]
    weights = weights_of("cosine_to_previous", points, 1, past=(100, 0, -100, 10000, 100))
    assert weights[1:3] == [0, 0]
    assert weights[0] == (1 << 21) // 2
    assert abs(100 * weights[3] - weights[0]) < 100
    assert named_rule("cosine_to_previous").rule.plan(context(points, 1, past=(0, -1, 0, -5, 100))) is None


def test_sign_majority_steps_by_the_median_length() -> None:
    assert merged("sign_majority", [10, 20, -3000], 1) == (20 << 8, 1 << 8)
    assert merged("sign_majority", [10, -10], 0) == (0, 1 << 8)
    assert merged("clip+sign_majority", [-10, -20, 3000], 1) == (-5109, 1 << 8)  # A clip rounds down.


@pytest.mark.parametrize("name", sorted(set(rule_names()) - {*UNPROTECTED}))
@pytest.mark.parametrize("lie", ["shout", "flip"])
def test_two_liars_of_eleven_move_no_robust_rule_far(name: str, lie: str) -> None:
    generator = np.random.default_rng(5)
    common = generator.integers(-300, 301, 64)
    honest = common + generator.integers(-150, 151, (9, 64))
    lies = np.full((2, 64), 32767) if lie == "shout" else np.tile(-20 * common, (2, 1))
    rows = [row.astype(np.int16) for row in np.concatenate([honest[:4], lies, honest[4:]])]
    result = rule_sum(named_rule(name), rows, example_weights([1] * 11, 0), 2)
    average = result.total / result.denominator
    spread = np.linalg.norm(honest - honest.mean(0), axis=1).mean()
    limit = 3.0 if name == "sign_majority" else 1.5  # All coordinates of one size: coarse without any liar.
    assert np.linalg.norm(average - honest.mean(0)) < limit * spread


@pytest.mark.parametrize("name", ["bucketing+nnm+median", "arc+geometric_median"])
def test_512_extreme_rows_give_the_bits_of_the_reference(name: str) -> None:
    signs = np.random.default_rng(2).choice([-32767, 32767], (512, 1)).astype(np.int16)
    weights = example_weights([1] * 512, 0)
    result = rule_sum(named_rule(name), list(signs), weights, 100)
    sums, denominator = reference.apply((name,), signs.tolist(), weights, 100, bytes(32), None)
    for ours, theirs in zip(result.total.tolist(), sums, strict=True):
        assert ours * denominator == theirs * result.denominator
        assert abs(ours) <= 32767 * result.denominator
