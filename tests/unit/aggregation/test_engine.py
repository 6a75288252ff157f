"""A merge gives the same bits with any threads, hash seeds and BLAS settings, group by group."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from hashlib import shake_256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from p2pfed.aggregation import catalogue
from p2pfed.aggregation import group as merging
from p2pfed.aggregation.catalogue import PRE_RULES, register, rule_names
from p2pfed.aggregation.contribution import group_products
from p2pfed.aggregation.engine import Merge, choose_rule, faulty_max, merge
from p2pfed.aggregation.past import Past
from p2pfed.aggregation.rule import Context, Plan, Rule, Weighted
from p2pfed.aggregation.step import OuterStep
from p2pfed.primitives.merkle import chunk_root
from p2pfed.types.model import ArraySpec, Int16Vector, Manifest, ModelState
from p2pfed.types.params import OUTER_ONE

MANIFEST = Manifest(
    (
        ArraySpec("weight", (129, 257), "float32", "trained", False),
        ArraySpec("bias", (257,), "float32", "trained", False),
        ArraySpec("count", (), "int64", "local", False),
        ArraySpec("variance", (33,), "float32", "statistic", True),
    )
)
EXPONENTS = (np.array([12, 3, 20], np.int8), np.array([26, 5, 18], np.int8))
EXAMPLES = [3, 1, 4, 1, 5, 9, 2]

# Frozen: these change only together with docs/spec/numerics.md and a decision record.
GOLDEN: dict[str, list[object]] = json.loads(
    Path(__file__).parents[2].joinpath("vectors/aggregates.json").read_text()
)["merges"]


def dice(label: str, values: int) -> Int16Vector:
    """Return int16 values that any language can make again: little-endian SHAKE-256, -32768 as 0."""
    drawn = np.frombuffer(shake_256(label.encode()).digest(2 * values), "<i2").astype(np.int16)
    drawn[drawn == -32768] = 0
    return drawn


def world() -> tuple[ModelState, list[Int16Vector]]:
    weights = dice("weights", MANIFEST.size).astype(np.int32) << 14
    rows = [dice(f"row {index}", MANIFEST.size) >> 3 for index in range(len(EXAMPLES))]
    return ModelState(weights, *EXPONENTS), rows


def merged(rule: str, **changes: object) -> Merge:
    model, rows = world()
    past = Past(dice("past", MANIFEST.size).astype(np.int32) << 8, EXPONENTS[1])
    settings: dict[str, object] = {
        "faulty_max": 1 if rule == "bulyan" or "bucketing" in rule else 2,
        "rule": rule,
        "later_rules": ("mean",),
        "update_bits": 12,
        "examples_cap": 4,
        "seed": bytes(range(32)),
        "past": past,
    }
    return merge(MANIFEST, model, rows, EXAMPLES, **(settings | changes))  # type: ignore[arg-type]


def summary(merge: Merge) -> list[object]:
    model = merge.model
    return [
        chunk_root(merge.aggregate.astype("<i4").tobytes()).hex(),
        model.root.hex(),
        [*model.update_exponents.tolist(), *model.model_exponents.tolist()],
    ]


def test_every_rule_and_pre_rule_has_frozen_bits() -> None:
    assert set(rule_names()) <= set(GOLDEN)
    assert {part for name in GOLDEN for part in name.split("+")} >= set(PRE_RULES)


@pytest.mark.parametrize("rule", sorted(GOLDEN))
def test_a_merge_gives_the_frozen_bits(rule: str) -> None:
    assert summary(merged(rule)) == GOLDEN[rule]


@pytest.mark.parametrize("rule", sorted(GOLDEN))
def test_two_threads_and_odd_pieces_give_the_same_bits(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "PIECE_ELEMENTS", 20_011)
    with ThreadPoolExecutor(2) as pool:
        assert summary(merged(rule, parallel=pool.map)) == GOLDEN[rule]


@pytest.mark.parametrize(("seed", "threads"), [("0", "1"), ("4242", "2")])
def test_another_process_with_another_hash_seed_and_threads_gives_the_same_bits(
    seed: str, threads: str
) -> None:
    code = f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})\nimport test_engine as t\n" + (
        "for rule in sorted(t.GOLDEN): print(t.summary(t.merged(rule)))"
    )
    environment = {"PYTHONHASHSEED": seed, "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [str(GOLDEN[rule]) for rule in sorted(GOLDEN)]


@pytest.mark.parametrize("rule", ["clip_nnm_trimmed_mean", "cosine_to_previous", "krum"])
def test_products_that_somebody_has_change_no_bit(rule: str) -> None:
    _, rows = world()
    products = group_products(MANIFEST.groups, rows, map)
    assert summary(merged(rule, products=products)) == GOLDEN[rule]


def test_the_outer_step_moves_all_that_is_trained_and_no_statistic() -> None:
    model, rows = world()
    velocity = dice("velocity", MANIFEST.size).astype(np.int32) << 6
    moving = ModelState(model.weights, *EXPONENTS, velocity=velocity)
    settings: dict[str, Any] = {"faulty_max": 2, "rule": "median", "update_bits": 12, "examples_cap": 4}
    still = merge(MANIFEST, model, rows, EXAMPLES, **settings)
    outer = OuterStep(OUTER_ONE // 2, OUTER_ONE // 2)
    after = merge(MANIFEST, moving, rows, EXAMPLES, outer=outer, **settings)
    assert (after.aggregate == still.aggregate).all()
    for group in MANIFEST.groups:
        is_alike = np.array_equal(after.model.weights[group.slice], still.model.weights[group.slice])
        assert is_alike is (group.kind == "statistic")


def test_groups_do_not_see_each_other() -> None:
    model, rows = world()
    before = merged("clip_nnm_trimmed_mean")
    bias = MANIFEST.groups[1]
    for row in rows:
        row[bias.slice] = 1
    after = merge(
        MANIFEST, model, rows, EXAMPLES,
        faulty_max=2, rule="clip_nnm_trimmed_mean", update_bits=12, examples_cap=4,
    )  # fmt: skip
    for group in (MANIFEST.groups[0], MANIFEST.groups[2]):
        assert (after.aggregate[group.slice] == before.aggregate[group.slice]).all()
    assert set(after.aggregate[bias.slice].tolist()) == {4}  # One unit of 2^-3 is four of 2^-5.


def test_the_model_before_and_the_updates_are_untouched_and_the_result_is_read_only() -> None:
    model, rows = world()
    copies = [model.weights.copy(), *(row.copy() for row in rows)]
    result = merge(
        MANIFEST, model, rows, EXAMPLES, faulty_max=2, rule="median", update_bits=12, examples_cap=0
    )
    for copy, array in zip(copies, [model.weights, *rows], strict=True):
        assert (copy == array).all()
    after = result.model
    for frozen in (result.aggregate, after.weights, after.update_exponents, after.model_exponents):
        assert not frozen.flags.writeable


def test_a_nonnegative_array_stays_so() -> None:
    variance = MANIFEST.groups[2]
    result = merged("median")
    model, _ = world()
    moved = model.weights[variance.slice].astype(np.int64) + result.aggregate[variance.slice]
    assert (moved < 0).any()
    assert (result.model.weights[variance.slice] >= 0).all()


@pytest.mark.parametrize(
    ("bonds", "expected"),
    [
        ([], 0), ([1], 0), ([1, 1], 0), ([1, 1, 1], 0), ([1] * 4, 1), ([1] * 7, 2), ([1] * 10, 3),
        ([5, 1, 1], 2), ([1, 1, 1, 1, 100], 4), ([2, 2, 2, 1], 1), ([3, 3, 3], 0), ([1, 1, 4], 1),
    ],
)  # fmt: skip
def test_liars_hold_less_than_a_third_of_the_trainers_stake(bonds: list[int], expected: int) -> None:
    assert faulty_max(bonds) == faulty_max(bonds[::-1]) == expected
    lowest = sorted(bonds)
    if bonds:
        assert 3 * sum(lowest[:expected]) < sum(bonds) <= 3 * sum(lowest[: expected + 1])


def test_the_first_rule_whose_bound_holds_is_used() -> None:
    assert choose_rule(["median", "mean"], 5, 2) == "median"
    assert choose_rule(["median", "mean"], 4, 2) == "mean"
    assert choose_rule(["median", "trimmed_mean"], 4, 2) is None
    assert choose_rule(["mean"], 0, 0) is None
    assert choose_rule(["mean"], 3, 2) == "mean"
    assert choose_rule(["mean"], 2, 2) is None  # Where all may lie no rule promises anything.


def test_a_rule_that_may_decline_or_lacks_the_past_is_used_only_where_another_can_take_over() -> None:
    assert choose_rule(["mda", "bulyan"], 7, 1) == "mda"
    assert choose_rule(["mda", "bulyan"], 7, 2) is None
    assert choose_rule(["mda", "bulyan", "median"], 7, 2) == "mda"
    assert choose_rule(["cosine_to_previous", "median"], 7, 2) == "median"
    assert choose_rule(["cosine_to_previous", "median"], 7, 2, has_past=True) == "cosine_to_previous"


def test_a_group_that_a_rule_declines_is_merged_by_the_next_that_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catalogue, "_RULES", dict(catalogue._RULES))

    def plan(context: Context) -> Plan | None:
        return Weighted([1] + [0] * (context.count - 1), 1) if context.size == 257 else None

    rule = Rule("only_the_bias", "n >= 1", lambda updates, _faulty: updates > 0, plan, may_decline=True)
    register(rule)
    result = merged("only_the_bias", later_rules=("bulyan", "median", "mean"))
    groups = [group.slice for group in MANIFEST.groups]
    by_median = merged("median").aggregate
    assert (result.aggregate[groups[0]] == by_median[groups[0]]).all()
    assert (result.aggregate[groups[2]] == by_median[groups[2]]).all()
    first = world()[1][0][groups[1]].astype(np.int64)
    assert (result.aggregate[groups[1]] == first << 2).all()
    assert result.rule == "only_the_bias"


def test_the_seed_of_the_height_decides_the_buckets() -> None:
    seeds = [bytes([value]) * 32 for value in range(4)]
    assert len({str(summary(merged("bucketing+median", seed=seed))) for seed in seeds}) == 4


def test_a_rule_outside_its_bound_is_our_own_bug() -> None:
    with pytest.raises(AssertionError):
        merged("trimmed_mean", faulty_max=4)
