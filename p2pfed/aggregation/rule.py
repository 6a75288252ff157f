"""What an aggregation rule is, and the list of all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from msgspec import Struct

from p2pfed.aggregation.clip_nnm_trimmed_mean import clip_nnm_trimmed_mean
from p2pfed.aggregation.division import RuleSum
from p2pfed.aggregation.mean import mean
from p2pfed.aggregation.median import median
from p2pfed.aggregation.trimmed_mean import trimmed_mean
from p2pfed.errors import LocalError
from p2pfed.types.model import Int16Vector


class Apply(Protocol):
    """Merge the rows of one group.

    Args:
        rows: int16, shape `(d_g,)` each, within +-COORDINATE_MAX, in the order of the trainers' public keys.
        weights: Integers that sum to 2^30, by examples; only the mean family looks at them.
        faulty_max: Rows that may lie, `f`.
    """

    def __call__(
        self, rows: Sequence[Int16Vector], weights: Sequence[int], faulty_max: int, /
    ) -> RuleSum: ...


class Rule(Struct, frozen=True):
    """A rule by its name in genesis; `bound(n, f)` answers whether n rows with f liars are in its promise."""

    name: str
    bound: Callable[[int, int], bool]
    apply: Apply


def _has_honest_majority(updates: int, faulty_max: int) -> bool:
    return 2 * faulty_max < updates


DEFAULT_RULE = "clip_nnm_trimmed_mean"

_ALL = (
    # The mean promises nothing about liars, so it only needs an update to exist.
    Rule("mean", lambda updates, _faulty: updates > 0, lambda rows, weights, _faulty: mean(rows, weights)),
    Rule("median", _has_honest_majority, lambda rows, _weights, _faulty: median(rows)),
    Rule("trimmed_mean", _has_honest_majority, lambda rows, _weights, faulty: trimmed_mean(rows, faulty)),
    Rule(
        DEFAULT_RULE, _has_honest_majority, lambda rows, _weights, faulty: clip_nnm_trimmed_mean(rows, faulty)
    ),
)

RULES: Mapping[str, Rule] = MappingProxyType({rule.name: rule for rule in _ALL})


def verify_rules(names: Sequence[str]) -> None:
    """Raise LocalError where a name is no rule."""
    for name in names:
        if name not in RULES:
            raise LocalError(f"there is no aggregation rule {name!r}; choose from {', '.join(RULES)}")
