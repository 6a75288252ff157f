"""Every rule says for which updates its promise holds."""

from __future__ import annotations

import pytest

from p2pfed.aggregation import reference
from p2pfed.aggregation.rule import RULES, verify_rules
from p2pfed.errors import LocalError


@pytest.mark.parametrize("rule", ["median", "trimmed_mean", "clip_nnm_trimmed_mean"])
def test_a_robust_rule_needs_an_honest_majority(rule: str) -> None:
    assert [RULES[rule].bound(n, f) for n, f in ((5, 2), (4, 2), (1, 0), (0, 0), (4, 1))] == [
        True, False, True, False, True,
    ]  # fmt: skip


def test_the_mean_promises_nothing_and_needs_an_update() -> None:
    assert RULES["mean"].bound(1, 0)
    assert RULES["mean"].bound(2, 1)
    assert not RULES["mean"].bound(0, 0)


def test_every_rule_has_its_name_and_its_reference() -> None:
    assert all(rule.name == name for name, rule in RULES.items())
    assert set(RULES) == set(reference.RULES)


def test_an_unknown_rule_is_named() -> None:
    verify_rules(list(RULES))
    with pytest.raises(LocalError, match="'krumm'"):
        verify_rules(["median", "krumm"])
