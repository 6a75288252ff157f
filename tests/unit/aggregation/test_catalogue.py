"""Rules and pre-rules by name: what there is, what it needs, and what is no rule."""

from __future__ import annotations

import numpy as np
import pytest

from p2pfed.aggregation import catalogue, reference
from p2pfed.aggregation.catalogue import (
    DEFAULT_RULE,
    PRE_RULES,
    named_rule,
    register,
    rule_names,
    verify_rules,
)
from p2pfed.aggregation.group import rule_sum
from p2pfed.aggregation.rule import Blockwise, Columns, Context, Rule, has_honest_majority
from p2pfed.errors import LocalError

UNPROTECTED = ("mean", "foolsgold")


@pytest.mark.parametrize("rule", sorted(set(rule_names()) - {*UNPROTECTED, "bulyan"}))
def test_a_robust_rule_needs_an_honest_majority(rule: str) -> None:
    bound = named_rule(rule).bound
    assert [bound(n, f) for n, f in ((5, 2), (4, 2), (1, 0), (0, 0), (4, 1))] == [
        True, False, True, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize("rule", UNPROTECTED)
def test_an_unprotected_rule_promises_nothing_and_needs_an_update(rule: str) -> None:
    bound = named_rule(rule).bound
    assert bound(1, 0)
    assert bound(2, 1)
    assert not bound(0, 0)


@pytest.mark.parametrize(
    ("rule", "last", "beyond"),
    [
        ("bulyan", (11, 2), (10, 2)),
        ("smea", (20, 6), (21, 6)),  # 38,760 sets of 14 and 54,264 of 15.
        ("caf", (128, 63), (129, 63)),
        ("bucketing+median", (9, 2), (8, 2)),  # Five buckets and four.
        ("bucketing+bulyan", (21, 2), (20, 2)),
        ("clip+nnm+krum", (7, 3), (6, 3)),
    ],
)
def test_a_bound_holds_up_to_its_edge(rule: str, last: tuple[int, int], beyond: tuple[int, int]) -> None:
    assert named_rule(rule).bound(*last)
    assert not named_rule(rule).bound(*beyond)


def test_every_rule_and_pre_rule_has_its_reference() -> None:
    assert set(rule_names()) - {DEFAULT_RULE} == set(reference.RULES)
    assert set(PRE_RULES) == set(reference.PRE_RULES)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["median", "krumm"], "there is no aggregation rule 'krumm'; choose from mean, median, trimmed_mean"),
        (["clip+nnm"], "'clip\\+nnm' that ends in a rule"),
        (
            ["klip+krum"],
            "there is no pre-rule 'klip' in 'klip\\+krum'; choose from clip, arc, bucketing, nnm",
        ),
        (["nnm+clip+krum"], "'nnm\\+clip\\+krum' has clip after nnm; the order is clip or arc"),
        (["clip+arc+krum"], "has arc after clip"),
        (["+krum"], "there is no pre-rule ''"),
        ([""], "there is no aggregation rule ''"),
        (["krum", "mda"], "rule mda may decline .* for example krum,mda,multi_krum"),
        (["mda", "foolsgold"], "rule mda may decline"),
    ],
)
def test_what_is_no_rule_is_told_with_what_there_is(names: list[str], text: str) -> None:
    with pytest.raises(LocalError, match=text):
        verify_rules(names)


def test_every_rule_is_accepted_with_one_behind_it() -> None:
    for name in rule_names():
        verify_rules([name, "median"])
    verify_rules(["bucketing+nnm+mda", "mda", "multi_krum"])


@pytest.fixture
def own_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "_RULES", dict(catalogue._RULES))


@pytest.mark.usefixtures("own_catalogue")
def test_a_rule_of_ones_own_is_used_by_name_and_behind_pre_rules() -> None:
    def midrange(context: Context) -> Blockwise:
        kernel = Columns(lambda rows: rows.min(0) + rows.max(0))
        return Blockwise(kernel, 2, range(context.count))

    own = Rule("midrange", "2f < n", has_honest_majority, midrange, uses_products=False)
    register(own)
    register(own)  # Loaded twice is no mistake.
    rows = [np.array(row, np.int16) for row in ([1, -32767], [5, 32767], [2, 0])]
    merged = rule_sum(named_rule("midrange"), rows, [1] * 3, 0)
    assert (merged.total.tolist(), merged.denominator) == ([6, 0], 2)
    mixed = rule_sum(named_rule("nnm+midrange"), rows, [1] * 3, 0)
    assert (mixed.total.tolist(), mixed.denominator) == ([16, 0], 6)


@pytest.mark.parametrize(
    ("name", "text"),
    [("krum", "krum"), ("clip", "clip"), (DEFAULT_RULE, "already"), ("a+b", "letters")],
)
def test_a_rule_of_ones_own_needs_a_name_of_its_own(name: str, text: str) -> None:
    own = Rule(name, "2f < n", has_honest_majority, lambda _context: None)
    with pytest.raises(LocalError, match=text):
        register(own)
