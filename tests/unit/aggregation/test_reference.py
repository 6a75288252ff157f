"""The slow reference merges by rules of a user's, bit for bit like the kernels; `verify --deep` asks it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from p2pfed.aggregation import catalogue, reference
from p2pfed.aggregation.engine import merge
from p2pfed.aggregation.rule import Blockwise, Columns, Context, Plan, Rule, Weighted
from p2pfed.aggregation.step import OuterStep
from p2pfed.types.model import ArraySpec, Manifest, ModelState
from p2pfed.types.params import OUTER_ONE

MANIFEST = Manifest(
    (ArraySpec("a", (40,), "float32", "trained", False), ArraySpec("b", (3,), "float32", "trained", False))
)
BEFORE = ("", "clip+", "arc+", "nnm+", "clip+nnm+", "bucketing+nnm+")


def by_length(context: Context) -> Plan:
    """Weigh each row by its length; by examples too, where rows are not mixed."""
    squares = [context.products[row][row] // context.unit for row in range(context.count)]
    weights = [1 + (square >> 16) + (context.weights[row] >> 24 if context.weights else 0)
               for row, square in enumerate(squares)]  # fmt: skip
    return Weighted(weights, sum(weights))


def midrange(context: Context) -> Plan:
    return Blockwise(Columns(lambda rows: rows.min(0) + rows.max(0)), 2, range(1, context.count))


def refuses(context: Context) -> Plan | None:
    return None if context.size == 3 else midrange(context)


@pytest.fixture(autouse=True)
def _rules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(catalogue, "_RULES", dict(catalogue._RULES))
    for plan, is_narrow in ((by_length, False), (midrange, False), (refuses, True)):
        catalogue.register(Rule(plan.__name__, "n > f", lambda n, f: n > f, plan, may_decline=is_narrow))
    yield
    catalogue.named_rule.cache_clear()


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("rule", ["by_length", "midrange", "refuses"])
def test_a_rule_of_ones_own_is_recomputed_to_the_bit(before: str, rule: str) -> None:
    dice = np.random.default_rng(3)
    rows = [dice.integers(-3000, 3001, MANIFEST.size).astype(np.int16) for _ in range(6)]
    weights = dice.integers(-(2**24), 2**24, MANIFEST.size).astype(np.int32)
    model = ModelState(weights, np.array([9, 12], np.int8), np.array([20, 18], np.int8))
    results = [
        how(
            MANIFEST, model, rows, [3, 1, 4, 1, 5, 9], faulty_max=1, rule=before + rule,
            later_rules=("median",), update_bits=12, examples_cap=4, outer=OuterStep(0, OUTER_ONE),
        )
        for how in (merge, reference.merge)
    ]  # fmt: skip
    assert results[0].model.root == results[1].model.root
    assert (results[0].aggregate == results[1].aggregate).all()
    assert results[0].aggregate.any()
