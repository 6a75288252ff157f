"""The fast kernels give the bits of the slow reference, whatever the updates are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pfed.aggregation import engine, group, reference
from p2pfed.aggregation.catalogue import DEFAULT_RULE, named_rule, rule_names
from p2pfed.aggregation.fixed import shares
from p2pfed.aggregation.group import rule_sum
from p2pfed.aggregation.mean import WEIGHT_TOTAL
from p2pfed.aggregation.past import Past
from p2pfed.aggregation.step import OuterStep
from p2pfed.types.model import ArraySpec, Int16Vector, Manifest, ModelState

BY_COORDINATE = ("median", "trimmed_mean", "meamed", "sign_majority")
BY_PRODUCTS = tuple(name for name in rule_names() if name not in (*BY_COORDINATE, "mean"))
WITHIN = ("median", "trimmed_mean")
MIRRORED = ("median", "trimmed_mean", "krum", "multi_krum", "mda", "monna", "nnm+median", DEFAULT_RULE)
STYLES = ("small", "wide", "extreme", "ties", "equal", "liars", "zeros")


def updates(style: str, n: int, d: int, generator: np.random.Generator) -> Int16Vector:
    """Return rows of one character; int16, shape `(n, d)`."""
    wide = generator.integers(-32767, 32768, (n, d))
    if style == "small":
        wide = generator.integers(-5, 6, (n, d))
    elif style == "extreme":
        wide = generator.choice([-32767, 32767], (n, d))
    elif style == "ties":
        wide = generator.choice([-32767, -1, 0, 1, 32767], (n, d))
    elif style == "equal":
        wide[:] = wide[0]
    elif style == "liars":
        wide[1:] = wide[0] // 9 + generator.integers(-40, 41, (n - 1, d))
        wide[::4] = -32767
    elif style == "zeros":
        wide[:] = 0
    return wide.astype(np.int16)


@dataclass
class Height:
    """One height to merge, with all that a rule may need."""

    manifest: Manifest
    model: ModelState
    rows: Int16Vector
    examples: list[int]
    settings: dict[str, Any]

    def merged(self, how: Callable[..., engine.Merge]) -> engine.Merge:
        return how(self.manifest, self.model, list(self.rows), self.examples, **self.settings)


@st.composite
def heights(draw: st.DrawFn, rules: Sequence[str], updates_max: int) -> Height:
    """Draw a model of up to three odd groups, its updates, claims, liars, seed, past, and a usable rule."""
    sizes = draw(st.lists(st.integers(1, 37), min_size=1, max_size=3))
    manifest = Manifest(
        tuple(
            ArraySpec(
                f"array {index}", (size,), "float32", "statistic" if index % 2 else "trained", index % 2 == 1
            )
            for index, size in enumerate(sizes)
        )
    )
    before = [draw(st.sampled_from(stage)) for stage in (("", "clip", "arc"), ("", "bucketing"), ("", "nnm"))]
    last = draw(st.sampled_from(rules))
    rule = last if last == DEFAULT_RULE else "+".join([*filter(None, before), last])
    n = draw(st.integers(1, updates_max))
    faulty = draw(st.integers(0, (n - 1) // 2))
    while engine.choose_rule((rule, "mean"), n, faulty, has_past=True) != rule:
        faulty -= 1
        if faulty < 0:
            n, faulty = n + 1, 0
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = updates(draw(st.sampled_from(STYLES)), n, manifest.size, generator)
    e = [draw(st.integers(-8, 30)) for _ in sizes]
    m = [draw(st.integers(0, min(30, exponent + 14))) for exponent in e]
    reach = draw(st.sampled_from([1, 2**20, 2**29 + 3, 2**31 - 1]))
    weights = generator.integers(-reach, reach + 1, manifest.size)
    weights[0] = draw(st.sampled_from([-reach, reach]))
    past = np.array([[draw(st.integers(-8, 30)) for _ in sizes] for _ in range(3)], np.int8)
    momentum = draw(st.sampled_from([0, 0, 1, 58982, 65535]))
    velocity = generator.integers(-reach, reach + 1, manifest.size if momentum else 0).astype(np.int32)
    model = ModelState(weights.astype(np.int32), np.array(e, np.int8), np.array(m, np.int8), past, velocity)
    aggregate = generator.integers(-(2**29) + 1, 2**29, manifest.size) >> draw(st.integers(0, 29))
    settings = {
        "faulty_max": faulty,
        "rule": rule,
        "later_rules": ("trimmed_mean", "mean"),
        "update_bits": draw(st.integers(10, 14)),
        "ages": draw(st.sampled_from([(), [0, 1, 2, 3] * n]))[:n],
        "outer": OuterStep(momentum, draw(st.sampled_from([1, 19661, 1 << 16, 1 << 20]))),
        "examples_cap": draw(st.sampled_from([0, 1, 4])),
        "seed": draw(st.binary(min_size=32, max_size=32)),
        "past": Past(aggregate.astype(np.int32), np.array(m, np.int8)),
    }
    examples = draw(st.lists(st.integers(1, 1 << 40), min_size=n, max_size=n))
    return Height(manifest, model, rows, examples, settings)


def bits(merge: engine.Merge) -> tuple[bytes, ...]:
    return merge.aggregate.tobytes(), merge.model.weights_bytes(), merge.model.exponents_bytes()


def check_against_reference(height: Height) -> None:
    fast, slow = height.merged(engine.merge), height.merged(reference.merge)
    assert bits(fast) == bits(slow)
    assert max(map(abs, fast.aggregate.tolist())) < 2**29
    assert all(
        m - e <= 14 for e, m in zip(fast.model.update_exponents, fast.model.model_exponents, strict=True)
    )


@settings(max_examples=90, deadline=None, derandomize=True)
@given(heights(("mean", *BY_COORDINATE), 24))
def test_every_rule_by_coordinate_gives_the_bits_of_its_reference(height: Height) -> None:
    check_against_reference(height)


@settings(max_examples=180, deadline=None, derandomize=True)
@given(heights(BY_PRODUCTS, 8))
def test_every_rule_by_products_gives_the_bits_of_its_reference(height: Height) -> None:
    check_against_reference(height)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    st.integers(0, 2**32), st.integers(14, 19), st.integers(1, 70), st.sampled_from(STYLES),
    st.sampled_from(("mean", "median", "trimmed_mean", "geometric_median", "nnm+trimmed_mean", DEFAULT_RULE)),
)  # fmt: skip
def test_columns_merge_alike_in_blocks_of_any_length(
    seed: int, n: int, size: int, style: str, rule: str
) -> None:
    generator = np.random.default_rng(seed)
    rows = list(updates(style, n, size, generator))
    weights = shares(generator.integers(1, 9, n).tolist(), WEIGHT_TOTAL)
    whole = rule_sum(named_rule(rule), rows, weights, 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(group, "BLOCK_ELEMENTS", 8)
        patch.setattr(group, "MIXED_BLOCK_ELEMENTS", 4)
        cut = rule_sum(named_rule(rule), rows, weights, 4)
    assert cut.denominator == whole.denominator
    assert cut.total.tolist() == whole.total.tolist()


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    st.integers(0, 2**32),
    st.integers(1, 33),
    st.sampled_from(WITHIN),
    st.data(),
)
def test_liars_cannot_leave_the_honest_range_of_a_coordinate_rule(
    seed: int, n: int, rule: str, data: st.DataObject
) -> None:
    faulty = data.draw(st.integers(0, (n - 1) // 2))
    generator = np.random.default_rng(seed)
    honest = generator.integers(-900, 901, (n - faulty, 41)).astype(np.int16)
    lies = generator.choice([-32767, 32767, 0], (faulty, 41)).astype(np.int16)
    rows = list(generator.permutation(np.concatenate([honest, lies])))
    merged = rule_sum(named_rule(rule), rows, [1] * n, faulty)
    assert (merged.total >= honest.min(0).astype(np.int64) * merged.denominator).all()
    assert (merged.total <= honest.max(0).astype(np.int64) * merged.denominator).all()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(0, 2**32), st.integers(1, 12), st.sampled_from(STYLES), st.sampled_from(sorted(rule_names()))
)
def test_updates_that_arrive_in_any_order_merge_alike_once_sorted_by_key(
    seed: int, n: int, style: str, rule: str
) -> None:
    manifest = Manifest((ArraySpec("weights", (23,), "float32", "trained", False),))
    model = ModelState(np.zeros(23, np.int32), np.array([10], np.int8), np.array([20], np.int8))
    generator = np.random.default_rng(seed)
    arrivals = [
        (key.to_bytes(33, "big"), row, 1 + key % 5)
        for key, row in zip(
            generator.permutation(10**6)[:n].tolist(), updates(style, n, 23, generator), strict=True
        )
    ]

    def merged(order: list[int]) -> tuple[bytes, ...]:
        ranked = sorted((arrivals[index] for index in order), key=lambda arrival: arrival[0])
        assert all(first[0] < second[0] for first, second in pairwise(ranked))
        rows, claims = [row for _, row, _ in ranked], [claim for *_, claim in ranked]
        faulty = (n - 1) // 3 if named_rule(rule).bound(n, (n - 1) // 3) else 0
        chosen = engine.choose_rule((rule, "mean"), n, faulty)
        return bits(
            engine.merge(
                manifest, model, rows, claims, faulty_max=faulty, rule=chosen or "", later_rules=("mean",),
                update_bits=12, examples_cap=4,
            )
        )  # fmt: skip

    assert merged(generator.permutation(n).tolist()) == merged(list(range(n)))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(0, 2**32),
    st.integers(1, 9),
    st.sampled_from(STYLES),
    st.sampled_from(MIRRORED),
)
def test_the_opposite_updates_have_the_opposite_sum(seed: int, n: int, style: str, rule: str) -> None:
    rows = updates(style, n, 19, np.random.default_rng(seed))
    if rule == DEFAULT_RULE and n > 1:
        rows[:] //= 2  # The clip rounds halves up, so only unclipped rows mirror exactly.
        rows[:] = np.where(rows < 0, -1, 1) * abs(rows).max()
    named = named_rule(rule)
    forth, back = (rule_sum(named, list(values), [1] * n, (n - 1) // 3) for values in (rows, -rows))
    assert (forth.total == -back.total).all()
