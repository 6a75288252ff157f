"""Aggregation rules that users install: found by entry point, added before a command looks for a rule."""

from __future__ import annotations

from importlib import metadata

from p2pfed.errors import LocalError

GROUP = "p2pfed.rules"


def load_own_rules() -> tuple[str, ...]:
    """Add the rules of all installed packages to the catalogue; return their names.

    Raises:
        LocalError: An entry point can't be imported, is no rule, or takes a name that is in use.
    """
    names = []
    for entry in metadata.entry_points(group=GROUP):
        # Only now: a command that needs no numbers starts faster without numpy.
        from p2pfed.aggregation.catalogue import register
        from p2pfed.aggregation.rule import Rule

        told = f"the aggregation rule {entry.name!r} ({entry.value})"
        try:
            rule = entry.load()
        except (ImportError, AttributeError) as error:
            raise LocalError(f"{told} can't be loaded: {error}") from None
        if not isinstance(rule, Rule):
            raise LocalError(f"{told} is a {type(rule).__name__}, not a p2pfed.aggregation.rule.Rule")
        if rule.name != entry.name:
            raise LocalError(f"{told} has the name {rule.name!r}: name the entry point so")
        register(rule)
        names.append(rule.name)
    return tuple(names)
