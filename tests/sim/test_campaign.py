"""`python -m p2pfed.sim`: what it prints, and that a broken law is an exit code and a line to repeat it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from p2pfed.sim import __main__ as campaign
from p2pfed.sim.world import Result


def invoke(*arguments: str):
    return CliRunner().invoke(campaign.main, arguments)


def result_with(*violations: str) -> Result:
    return Result((1, 1), (bytes(32),), violations, "0" * 64, 5, 100, 2, 0.5)


def test_a_campaign_counts_what_happened() -> None:
    outcome = invoke("--schedules", "2", "--heights", "2", "--json")
    assert outcome.exit_code == 0, outcome.output
    report = json.loads(outcome.stdout)
    assert (report["schedules"], report["failures"], report["blocks"]) == (2, 0, 4)
    assert report["byzantine"] == ["sign_flip:scale=4"]
    assert report["events"] > 100
    assert "2/2 schedules, 0 failed" in outcome.stderr


def test_a_broken_law_is_named_with_its_seed_and_ends_with_exit_code_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        campaign, "run", lambda scenario: result_with("a fork") if scenario.seed == 8 else result_with()
    )
    outcome = invoke("--schedules", "3", "--seed", "7", "--honest")
    assert outcome.exit_code == 1
    assert "seed 8: a fork" in outcome.stderr
    assert "python -m p2pfed.sim --schedules 1 --seed 8 --peers 4 --heights 20 --honest" in outcome.stderr
    assert "failures      1" in outcome.stdout


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--byzantine", "sign_flop"), "did you mean sign_flip"),
        (("--byzantine", "alie", "--byzantine", "alie"), "less than a third"),
        (("--peers", "3"), "less than a third"),
        (("--heights", "0"), "range"),
    ],
)
def test_a_campaign_that_makes_no_sense_is_refused(arguments: tuple[str, ...], text: str) -> None:
    outcome = invoke(*arguments)
    assert outcome.exit_code == 2
    assert text in outcome.output
