"""What the laboratory says it has, and what it does on a small matrix."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.pages import json_keys

from p2pfed.adversary.registry import ATTACKS
from p2pfed.cli.lab_list import list_
from p2pfed.cli.lab_matrix import matrix, report
from p2pfed.errors import LocalError, UsageError


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


SMALL = [
    "--app", "digits:softmax", "--param", "epochs=1", "--param", "batch=64", "--peers", "4",
    "--heights", "2", "--rules", "median,bulyan", "--attacks", "none,ipm", "--faulty", "1",
    "--splits", "iid", "--workers", "1",
]  # fmt: skip


def test_a_matrix_is_kept_goes_on_and_each_row_repeats_by_its_own_command(tmp_path: Path) -> None:
    folder = str(tmp_path / "m")
    first = CliRunner().invoke(matrix, [*SMALL, "--output", folder, "--json"])
    assert first.exit_code == 1, first.output
    rows = [json.loads(line) for line in first.stdout.splitlines()]
    assert all(set(row) == json_keys("p2pfed.lab-cell/1") for row in rows)
    assert {row["rule"]: bool(row["error"]) for row in rows} == {"median": False, "bulyan": True}
    assert "bulyan, ipm, iid: bulyan needs 4f + 3 <= n: here n is 4 and f is 1" in first.stderr
    assert "4 of 4 cells, 2 failed" in first.stderr
    assert "nobody lies" in (tmp_path / "m" / "matrix.svg").read_text()

    again = CliRunner().invoke(matrix, ["--output", folder, "--workers", "1"])
    assert again.exit_code == 1
    assert "2 of 4 cells are here already" in again.stderr
    assert "median" in again.stdout
    told = CliRunner().invoke(report, [folder, "--metric", "loss", "--json"])
    assert json.loads(told.stdout.splitlines()[0])["value"] == rows[0]["metrics"]["loss"]

    words = shlex.split(rows[1]["command"])
    assert words[:3] == ["p2pfed", "lab", "matrix"]
    repeated = CliRunner().invoke(matrix, [*words[3:], "--json"])
    assert json.loads(repeated.stdout)["model"] == rows[1]["model"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--momentum", "1"], "--momentum goes from 0 to below 1"),
        (["--param", "lr"], "--param takes KEY=VALUE, not 'lr'"),
        (["--seeds", "one"], "--seeds takes numbers"),
        (["--attacks", "silent"], "silent is no attack on values"),
        (["--attacks", "ali"], "did you mean alie"),
    ],
)
def test_a_matrix_that_makes_no_sense_is_refused_before_anything_is_written(
    arguments: list[str], text: str, tmp_path: Path
) -> None:
    folder = tmp_path / "m"
    answer = CliRunner().invoke(matrix, [*arguments, "--output", str(folder)])
    assert isinstance(answer.exception, UsageError)
    assert text in str(answer.exception)
    assert not folder.exists()


def test_a_report_of_a_folder_without_a_matrix_says_how_to_make_one(tmp_path: Path) -> None:
    answer = CliRunner().invoke(report, [str(tmp_path)])
    assert isinstance(answer.exception, LocalError)
    assert f"p2pfed lab matrix --output {tmp_path}" in str(answer.exception)


def test_data_that_is_not_there_is_refused_once_before_any_cell(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    for app in ("digits:mlp", "mnist:mlp", "my_file.py:learner"):
        outcome = CliRunner().invoke(matrix, ["--app", app, "--data-dir", nowhere, "-o", str(tmp_path / "m")])
        assert isinstance(outcome.exception, UsageError)
        assert str(outcome.exception) == f"--data-dir: there is no {nowhere}"
        assert "cells" not in outcome.output
    outcome = CliRunner().invoke(matrix, ["--app", "mnist:mlp", "--data-dir", str(tmp_path), "-o", "-"])
    assert isinstance(outcome.exception, LocalError)
    assert "cells" not in outcome.output
