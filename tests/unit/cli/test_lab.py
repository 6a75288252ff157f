"""What the laboratory says it has, and what it does on a small matrix."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from support.pages import json_keys

from p2pfed.adversary.registry import ATTACKS
from p2pfed.cli.lab_list import list_


def test_the_list_names_every_scenario_attack_and_rule_as_the_page_tells() -> None:
    printed = CliRunner().invoke(list_, ["--json"])
    rows = [json.loads(line) for line in printed.stdout.splitlines()]
    by_schema = {row["schema"]: [one for one in rows if one["schema"] == row["schema"]] for row in rows}
    for schema, found in by_schema.items():
        assert all(set(row) <= json_keys(schema) for row in found)
    attacks = by_schema["p2pfed.lab-attack/1"]
    assert [row["name"] for row in attacks] == list(ATTACKS)
    assert {row["name"] for row in by_schema["p2pfed.lab-rule/1"]} >= {"mean", "krum", "clip"}
    assert {row["name"] for row in by_schema["p2pfed.lab-scenario/1"]} >= {"good", "random"}


@pytest.mark.parametrize("title", ["Scenarios:", "Attacks:", "Rules:"])
def test_the_list_for_people_has_three_parts(title: str) -> None:
    assert title in CliRunner().invoke(list_).stdout.splitlines()
