"""`p2pfed lab list`: what the laboratory has: scenarios, attacks on values, rules."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator

import click

from p2pfed.adversary.registry import ATTACKS
from p2pfed.aggregation.catalogue import PRE_RULES, named_rule, rule_names
from p2pfed.sim.campaign import RANDOM, builtin_names, fault_kinds, find_scenario


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_(as_json: bool) -> None:
    """List scenarios for `lab run`, and attacks and rules for `lab matrix`."""
    for title, rows in (("Scenarios", _scenarios()), ("Attacks", _attacks()), ("Rules", _rules())):
        if not as_json:
            click.echo(f"{title}:")
        for row in rows:
            click.echo(json.dumps(row) if as_json else f"{row['name']:<22} {row['about']}")


def _scenarios() -> Iterator[dict[str, object]]:
    for name in builtin_names():
        scenario = find_scenario(name)
        yield {
            "schema": "p2pfed.lab-scenario/1", "name": name, "about": scenario.about,
            "peers": scenario.peers, "observers": scenario.observers, "heights": scenario.heights,
            "byzantine": list(scenario.byzantine), "faults": list(fault_kinds(scenario)),
        }  # fmt: skip
    yield {
        "schema": "p2pfed.lab-scenario/1", "name": RANDOM,
        "about": "Faults, crashes and clocks drawn from the seed.",
    }  # fmt: skip


def _attacks() -> Iterator[dict[str, object]]:
    for name, attack in ATTACKS.items():
        about = inspect.getdoc(attack) or ""
        yield {
            "schema": "p2pfed.lab-attack/1", "name": name, "about": about.splitlines()[0].replace("`", ""),
            "settings": dict(attack.settings), "sees": "honest" if attack.waits else "own",
        }  # fmt: skip


def _rules() -> Iterator[dict[str, object]]:
    for name in rule_names():
        yield {"schema": "p2pfed.lab-rule/1", "name": name, "about": f"needs {named_rule(name).needs}"}
    for name in PRE_RULES:
        yield {
            "schema": "p2pfed.lab-rule/1", "name": name,
            "about": f"goes before a rule: {name}+median, or several: clip+nnm+krum",
        }  # fmt: skip
