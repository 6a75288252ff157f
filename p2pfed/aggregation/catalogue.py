"""All rules and pre-rules by name, and the names that join them: `clip+nnm+krum`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

from msgspec import Struct

from p2pfed.aggregation.arc import ARC
from p2pfed.aggregation.bucketing import BUCKETING
from p2pfed.aggregation.bulyan import BULYAN
from p2pfed.aggregation.caf import CAF
from p2pfed.aggregation.centred_clipping import CENTRED_CLIPPING
from p2pfed.aggregation.clipping import CLIP
from p2pfed.aggregation.cosine import COSINE_TO_PREVIOUS
from p2pfed.aggregation.foolsgold import FOOLSGOLD
from p2pfed.aggregation.geometric_median import GEOMETRIC_MEDIAN
from p2pfed.aggregation.krum import KRUM, MULTI_KRUM
from p2pfed.aggregation.mda import MDA
from p2pfed.aggregation.meamed import MEAMED
from p2pfed.aggregation.mean import MEAN
from p2pfed.aggregation.median import MEDIAN
from p2pfed.aggregation.monna import MONNA
from p2pfed.aggregation.nnm import NNM
from p2pfed.aggregation.prerule import PreRule
from p2pfed.aggregation.rule import Rule
from p2pfed.aggregation.sign_majority import SIGN_MAJORITY
from p2pfed.aggregation.smea import SMEA
from p2pfed.aggregation.trimmed_mean import TRIMMED_MEAN
from p2pfed.errors import LocalError

DEFAULT_RULE = "clip_nnm_trimmed_mean"  # The name of clip+nnm+trimmed_mean since the first network.
JOINT = "+"

_RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        MEAN, MEDIAN, TRIMMED_MEAN, MEAMED, KRUM, MULTI_KRUM, BULYAN, MDA, MONNA, GEOMETRIC_MEDIAN,
        CENTRED_CLIPPING, CAF, SMEA, COSINE_TO_PREVIOUS, FOOLSGOLD, SIGN_MAJORITY,
    )
}  # fmt: skip
PRE_RULES: Mapping[str, PreRule] = {pre.name: pre for pre in (CLIP, ARC, BUCKETING, NNM)}


class NamedRule(Struct, frozen=True):
    """A rule with the pre-rules before it."""

    name: str
    before: tuple[PreRule, ...]
    rule: Rule

    @property
    def uses_products(self) -> bool:
        return self.rule.uses_products or any(pre.uses_products for pre in self.before)

    @property
    def needs(self) -> str:
        """The bound in words; n is the number of rows that the pre-rules leave."""
        return self.rule.needs

    def count(self, updates: int) -> int:
        """Return how many rows the pre-rules leave of so many updates."""
        for pre in self.before:
            updates = pre.count(updates)
        return updates

    def bound(self, updates: int, faulty_max: int) -> bool:
        """Answer whether so many updates with f liars are within the rule's promise."""
        return updates > 0 and faulty_max < updates and self.rule.bound(self.count(updates), faulty_max)


def rule_names() -> tuple[str, ...]:
    """Return the rules that need no pre-rule, and the default."""
    return (*_RULES, DEFAULT_RULE)


def register(rule: Rule) -> None:
    """Add a rule of one's own; every peer of a network that names it needs the same code.

    Raises:
        LocalError: Another rule has this name, or it can't be one.
    """
    if _RULES.get(rule.name, rule) != rule or rule.name in PRE_RULES or rule.name == DEFAULT_RULE:
        raise LocalError(f"there is an aggregation rule {rule.name!r} already")
    if not rule.name.isidentifier():
        raise LocalError(f"{rule.name!r} can't name an aggregation rule: letters, digits and _ can")
    _RULES[rule.name] = rule
    named_rule.cache_clear()


@lru_cache(maxsize=256)
def named_rule(name: str) -> NamedRule:
    """Return the rule that genesis calls `name`: a rule, or pre-rules and a rule joined by `+`.

    Raises:
        LocalError: A part is unknown, or the pre-rules are out of order; the text says what there is.
    """
    parts = (CLIP.name, NNM.name, TRIMMED_MEAN.name) if name == DEFAULT_RULE else tuple(name.split(JOINT))
    *before, last = parts
    if last not in _RULES:
        known = ", ".join(rule_names())
        behind = " that ends in a rule" if last in PRE_RULES else ""
        raise LocalError(
            f"there is no aggregation rule {name!r}{behind}; choose from {known}, "
            f"with any of {', '.join(PRE_RULES)} before it: clip+nnm+krum"
        )
    for pre in before:
        if pre not in PRE_RULES:
            raise LocalError(f"there is no pre-rule {pre!r} in {name!r}; choose from {', '.join(PRE_RULES)}")
    chosen = tuple(PRE_RULES[pre] for pre in before)
    for first, second in pairwise(chosen):
        if first.stage >= second.stage:
            raise LocalError(
                f"{name!r} has {second.name} after {first.name}; the order is clip or arc, then bucketing, "
                "then nnm, each at most once"
            )
    return NamedRule(name, chosen, _RULES[last])


def verify_rules(names: Sequence[str]) -> None:
    """Raise LocalError where a name is no rule, or where a rule that may decline has none after it."""
    for name in names:
        named_rule(name)
    for place, name in enumerate(names):
        rule = named_rule(name).rule
        if rule.may_decline and all(named_rule(later).rule.may_decline for later in names[place + 1 :]):
            raise LocalError(
                f"rule {name} may decline some updates, and no rule after it takes any: "
                f"list one, for example {','.join([*names, 'multi_krum'])}"
            )
