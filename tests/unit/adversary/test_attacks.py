"""How false updates are made: pure functions of what a liar sees, held to their formulas."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pfed.adversary.attacks.attack import Attack, Sight, saturated
from p2pfed.adversary.attacks.crew import Crew
from p2pfed.adversary.attacks.foresight import Foresight, step_between
from p2pfed.adversary.attacks.search import maximised
from p2pfed.adversary.registry import ATTACKS, make_attack
from p2pfed.types.model import ArraySpec, Group, Int16Vector, Manifest, ModelState
from p2pfed.types.params import COORDINATE_MAX

MANIFEST = Manifest(
    tuple(ArraySpec(name, (size,), "float32", "trained", False) for name, size in (("w", 6), ("b", 2)))
)
GROUPS = MANIFEST.groups


def vector(*elements: int) -> Int16Vector:
    return np.array(elements, np.int16)


def random_rows(count: int, seed: int = 1, size: int = 8, around: int = 40) -> list[Int16Vector]:
    dice = np.random.default_rng(seed)
    return [(around + dice.normal(0, 60, size)).astype(np.int16) for _ in range(count)]


def mean_of(rows: Sequence[Int16Vector]) -> np.ndarray:
    return np.mean([row.astype(float) for row in rows], axis=0)


def sight(
    own: Int16Vector,
    honest: Sequence[Int16Vector] = (),
    *,
    groups: Sequence[Group] | None = None,
    arrays: Sequence[Group] | None = None,
    liars: int = 2,
    step: Int16Vector | None = None,
    seed: int = 1,
    height: int = 1,
    merged=mean_of,
) -> Sight:
    return Sight(
        own=own, honest=honest, groups=groups or (Group(0, own.size, "trained", False),),
        arrays=arrays or groups or (Group(0, own.size, "trained", False),), liars=liars,
        trainers=liars + len(honest), step=step, dice=np.random.default_rng([seed, height]),
        shared_dice=np.random.default_rng([seed]), merged=merged,
    )  # fmt: skip


def crafted(spec: str, *args, **named) -> Int16Vector:
    return make_attack(spec).craft(sight(*args, **named))


@pytest.mark.parametrize("kind", ATTACKS)
@pytest.mark.parametrize("seen", [0, 1, 5])
def test_every_attack_makes_an_update_that_is_valid_and_leaves_what_it_saw_alone(
    kind: str, seen: int
) -> None:
    dice = np.random.default_rng(seen)
    rows = [dice.integers(-COORDINATE_MAX, COORDINATE_MAX, 8).astype(np.int16) for _ in range(seen + 1)]
    before = [row.copy() for row in rows]
    for row in rows:
        row.setflags(write=False)
    for spread in (rows, [np.zeros(8, np.int16)] * (seen + 1)):
        own, *honest = spread
        made = crafted(kind, own, honest, groups=GROUPS)
        assert (made.dtype, made.shape) == (np.dtype(np.int16), (8,))
        assert made.min() >= -COORDINATE_MAX
    assert all(np.array_equal(row, old) for row, old in zip(rows, before, strict=True))


@pytest.mark.parametrize("kind", ATTACKS)
def test_an_attack_repeats(kind: str) -> None:
    own, *honest = random_rows(6)
    first, again = (crafted(kind, own, honest, groups=GROUPS) for _ in range(2))
    assert np.array_equal(first, again)


def test_a_sign_flip_is_the_honest_update_times_minus_scale() -> None:
    assert crafted("sign_flip", vector(0, 3, -5, 100)).tolist() == [0, -12, 20, -400]
    assert crafted("sign_flip:scale=1", vector(0, 3, -5)).tolist() == [0, -3, 5]


def test_what_is_too_large_saturates_and_never_reaches_the_forbidden_value() -> None:
    flipped = crafted("sign_flip", vector(30_000, -30_000))
    assert flipped.tolist() == [-COORDINATE_MAX, COORDINATE_MAX]
    assert flipped.dtype == np.int16


def test_halves_are_rounded_and_not_cut() -> None:
    assert saturated(np.array([0.6, -0.6, 1.4, 2.5, 3.5])).tolist() == [1, -1, 1, 2, 4]


def test_alie_is_the_mean_minus_z_deviations_of_each_coordinate() -> None:
    rows = [vector(0, 10), vector(10, 10), vector(20, 10)]
    deviation = sqrt(200 / 3)
    assert crafted("alie", rows[0], rows).tolist() == [round(10 - 1.5 * deviation), 10]
    assert crafted("alie:z=-1.5", rows[0], rows).tolist() == [round(10 + 1.5 * deviation), 10]


def test_alie_does_not_overflow_where_the_honest_are_large() -> None:
    rows = [vector(32_000), vector(32_000), vector(-32_000)]
    assert crafted("alie:z=0", rows[0], rows).tolist() == [round(32_000 / 3)]


def test_an_inner_product_is_turned_by_minus_epsilon_times_the_mean() -> None:
    rows = [vector(10, -4), vector(30, -8)]
    assert crafted("ipm", rows[0], rows).tolist() == [-10, 3]
    assert crafted("ipm:epsilon=10", rows[0], rows).tolist() == [-200, 60]


def test_noise_is_as_large_as_scale_says_and_other_at_each_height() -> None:
    own = np.full(20_000, 100, np.int16)
    first = crafted("noise", own)
    assert first.std() == pytest.approx(1_010, rel=0.05)
    assert abs(first.mean()) < 30
    assert not np.array_equal(first, crafted("noise", own, height=2))
    assert crafted("noise", np.zeros(1_000, np.int16)).any()


def test_the_largest_update_is_the_largest_that_can_be_encoded() -> None:
    assert crafted("huge_norm", vector(1, -2, 3)).tolist() == [COORDINATE_MAX] * 3


def test_who_hugs_the_bounds_goes_against_the_sign_of_the_mean() -> None:
    rows = [vector(5, -3, 0, 4), vector(1, 1, 0, -6)]
    expected = [-COORDINATE_MAX, COORDINATE_MAX, COORDINATE_MAX, COORDINATE_MAX]
    assert crafted("bound_hugging", rows[0], rows).tolist() == expected


@pytest.mark.parametrize(
    ("spec", "changed"), [("concentrated", slice(6, 8)), ("concentrated:group=0", slice(0, 6)),
                          ("concentrated:group=9", slice(6, 8))],
)  # fmt: skip
def test_a_concentrated_lie_flips_one_group_and_nothing_else(spec: str, changed: slice) -> None:
    own = random_rows(1)[0]
    made = crafted(spec, own, groups=GROUPS)
    assert made[changed].tolist() == (-4 * own[changed].astype(int)).tolist()
    honest = np.ones(8, bool)
    honest[changed] = False
    assert np.array_equal(made[honest], own[honest])


def test_who_steers_exponents_changes_the_largest_element_of_each_group_alone() -> None:
    made = crafted("exponent_steering", vector(3, -9, 5, 0, 0, 1, 2, 7), groups=GROUPS)
    assert made.tolist() == [3, COORDINATE_MAX, 5, 0, 0, 1, 2, -COORDINATE_MAX]


def test_a_backdoor_is_scaled_by_n_over_f_so_that_the_mean_becomes_it() -> None:
    own, honest = vector(10, -20), [vector(0, 0)] * 6
    assert crafted("backdoor", own, honest, liars=2).tolist() == [40, -80]
    assert crafted("backdoor:scale=3", own, honest).tolist() == [30, -60]
    rows = [*honest, *[crafted("backdoor", own, honest, liars=2)] * 2]
    assert mean_of(rows).tolist() == [10, -20]


def test_a_label_flip_sends_what_the_poisoned_learner_trained() -> None:
    attack = make_attack("label_flip")
    assert attack.poison == "label_flip"
    assert crafted("label_flip", vector(4, 5)).tolist() == [4, 5]


def pairwise(rows: Sequence[Int16Vector]) -> np.ndarray:
    matrix = np.stack(rows).astype(float)
    return ((matrix[:, None] - matrix[None]) ** 2).sum(axis=2)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 7), st.integers(0, 1_000))
def test_min_max_is_as_far_as_the_two_farthest_honest_in_each_group(count: int, seed: int) -> None:
    rows = random_rows(count, seed)
    made = crafted("min_max", rows[0], rows, groups=GROUPS)
    for group in GROUPS:
        parts = [row[group.slice] for row in rows]
        bound = sqrt(pairwise(parts).max())
        worst = max(np.linalg.norm(made[group.slice] - part.astype(float)) for part in parts)
        assert abs(worst - bound) <= sqrt(group.size) / 2 + 1e-6


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 7), st.integers(0, 1_000))
def test_min_sum_is_as_far_from_all_as_the_worst_honest_in_each_group(count: int, seed: int) -> None:
    rows = [(100 * row).astype(np.int16) for row in random_rows(count, seed)]  # Rounding is nothing here.
    made = crafted("min_sum", rows[0], rows, groups=GROUPS)
    for group in GROUPS:
        parts = [row[group.slice].astype(float) for row in rows]
        bound = pairwise(parts).sum(axis=1).max()
        found = sum(float(np.sum((made[group.slice] - part) ** 2)) for part in parts)
        assert found == pytest.approx(bound, rel=0.01)
        step = made[group.slice] - np.mean(parts, axis=0)
        assert (step <= 1).all()  # Against the deviation.


def test_mimic_sticks_to_the_peer_that_differs_most() -> None:
    mimic = make_attack("mimic")
    odd = []
    for height in range(1, 8):
        rows = random_rows(5, height)
        rows[3] = (rows[3] + np.array([300, -300, 0, 0, 0, 0, 0, 0])).astype(np.int16)
        made = mimic.craft(sight(rows[0], rows, height=height))
        assert any(np.array_equal(made, row) for row in rows)
        odd.append(np.array_equal(made, rows[3]))
    assert all(odd[2:])


def test_mimic_remembers_its_direction() -> None:
    rows = [vector(100, 0), vector(-100, 0), vector(0, 90), vector(0, -90)]
    later = [vector(90, 0), vector(-90, 0), vector(0, 100), vector(0, -100)]
    mimic, fresh = make_attack("mimic"), make_attack("mimic")
    for _ in range(20):
        mimic.craft(sight(rows[0], rows))
    mimic.craft(sight(rows[0], [vector(0, 100), vector(0, -100)]))  # One height without a trace of it.
    assert mimic.craft(sight(rows[0], later[::-1])).tolist()[1] == 0
    assert fresh.craft(sight(rows[0], later[::-1])).tolist()[0] == 0


def krum_scores(rows: Sequence[Int16Vector], nearest: int) -> list[int]:
    return [sum(sorted(line)[:nearest]) for line in pairwise(rows).astype(int).tolist()]


@pytest.mark.parametrize("seed", range(6))
def test_a_crafted_tie_wins_krum_and_a_little_more_would_lose(seed: int) -> None:
    honest = random_rows(7, seed, around=80)
    made = crafted("tie_crafting", honest[0], honest, liars=3)
    scores = krum_scores([*honest, made, made, made], 7)
    assert min(scores[7:]) <= min(scores[:7])
    mean = mean_of(honest)
    scale = -float(made @ mean.astype(float)) / float(mean @ mean)
    stronger = saturated(-(scale + 0.05) * mean)
    scores = krum_scores([*honest, stronger, stronger, stronger], 7)
    assert min(scores[7:]) > min(scores[:7])


def test_where_no_flip_wins_the_tie_is_the_mean_itself() -> None:
    honest = [vector(90, 0), vector(90, 0), vector(90, 0), vector(-3, 90)]
    assert crafted("tie_crafting", honest[0], honest, liars=1).tolist()[0] > 0


def test_free_riders_send_nothing_the_last_step_or_the_last_step_in_disguise() -> None:
    own, step = random_rows(1)[0], np.arange(8, dtype=np.int16)
    assert not crafted("free_zero", own).any()
    assert not crafted("free_replay", own).any()
    assert crafted("free_replay", own, step=step).tolist() == list(range(8))
    first, second = (crafted("free_noise", own, step=step, height=height) for height in (1, 2))
    assert not np.array_equal(first, second)
    calm = crafted("free_noise:scale=0", own, step=step)
    assert calm.tolist() == step.tolist()


def test_clones_say_the_same_at_every_height_as_long_as_an_honest_update() -> None:
    own = random_rows(1, size=2_000)[0]
    first, later = (crafted("sybil_clones", own, height=height) for height in (1, 2))
    assert np.array_equal(first, later)
    ratio = np.linalg.norm(first.astype(float)) / np.linalg.norm(own.astype(float))
    assert ratio == pytest.approx(1, abs=0.1)
    assert not np.array_equal(first, crafted("sybil_clones", own, seed=2))


def test_a_stale_replay_is_the_own_update_of_some_heights_ago() -> None:
    attack, rows = make_attack("stale_replay:age=2"), random_rows(6)
    said = [attack.craft(sight(row)) for row in rows]
    for answer, expected in zip(said, [rows[0], rows[0], *rows[:4]], strict=True):
        assert np.array_equal(answer, expected)


def test_a_search_finds_a_peak_near_or_far_and_never_goes_below_zero() -> None:
    for peak in (0.0, 0.4, 3.0, 40.0):
        found = maximised(lambda s, peak=peak: -abs(s - peak), 24)
        assert found >= 0
        assert abs(found - peak) <= 0.1 * peak + 0.2


def test_an_optimised_attack_harms_no_less_than_a_fixed_one() -> None:
    """Under the median a huge strength is harmless, so there is a best one in between."""
    honest = random_rows(7, 3)

    def harm(row: Int16Vector) -> float:
        merged = np.median(np.stack([*honest, row, row, row]).astype(float), axis=0)
        return float(np.linalg.norm(merged - mean_of(honest)))

    def median(rows: Sequence[Int16Vector]) -> np.ndarray:
        return np.median(np.stack(rows).astype(float), axis=0)

    for optimal, fixed in (
        ("alie_optimal", "alie"),
        ("ipm_optimal", "ipm"),
        ("ipm_optimal", "ipm:epsilon=10"),
    ):
        best = crafted(optimal, honest[0], honest, liars=3, merged=median)
        assert harm(best) >= 0.999 * harm(crafted(fixed, honest[0], honest)), optimal


def model(*weights: int) -> ModelState:
    return ModelState(np.array(weights, np.int32), np.array([4, 6], np.int8), np.array([8, 8], np.int8))


def test_foresight_is_the_merge_of_the_network_in_update_units() -> None:
    foresight = Foresight(MANIFEST, model(*[0] * 8), ("median",), 1, 12)
    rows = [np.full(8, value, np.int16) for value in (10, 20, 90)]
    assert foresight.merged(rows).tolist() == [20.0] * 8
    assert Foresight(MANIFEST, model(*[0] * 8), ("bulyan",), 1, 12).merged(rows).tolist() == [0.0] * 8


def test_a_step_is_measured_in_update_units() -> None:
    before, after = model(*[0] * 8), model(*[160] * 6, 16, -16)
    # 160 / 2^8 is 10 / 2^4; 16 / 2^8 is 4 / 2^6.
    assert step_between(before, after, MANIFEST).tolist() == [10] * 6 + [4, -4]


def test_a_crew_that_says_the_same_is_asked_once_and_others_one_by_one() -> None:
    asked: list[Int16Vector] = []

    class Asked(Attack):
        def craft(self, seen: Sight) -> Int16Vector:
            asked.append(seen.own)
            assert (seen.liars, seen.trainers, len(seen.honest)) == (3, 8, 5)
            return (seen.own * 0 + seen.dice.integers(100, 200)).astype(np.int16)

    class Joint(Asked):
        is_joint = True

    foresight = Foresight(MANIFEST, model(*[0] * 8), ("mean",), 0, 12)
    rows = random_rows(8)
    for kind, calls in ((Asked, 3), (Joint, 1)):
        asked.clear()
        made = Crew([kind({}) for _ in range(3)], 1).crafted(1, rows[:3], rows[3:], foresight, None)
        assert (len(asked), len(made)) == (calls, 3)
        assert (len({row.tobytes() for row in made}) == 1) == kind.is_joint
