"""A scenario file runs with real processes and in virtual time, and is held to the same expectations."""

from __future__ import annotations

import json
import re
from pathlib import Path

from click.testing import CliRunner
from support.pages import guide, section

from p2pfed.cli.lab import lab
from p2pfed.sim.faults import Fault
from p2pfed.sim.scenario import Expect, Scenario, dump_scenario


def test_a_killed_and_a_paused_peer_come_back_in_both_worlds(tmp_path: Path) -> None:
    faults = (Fault("kill", 100, 900, (0,)), Fault("pause", 100, 600, (1,)))
    path = tmp_path / "both.toml"
    scenario = Scenario(peers=4, heights=8, faults=faults, expect=Expect(convicted=()))
    path.write_text(dump_scenario(scenario))
    simulated = CliRunner().invoke(lab, ["run", str(path), "--sim", "--json"])
    assert simulated.exit_code == 0, simulated.stderr
    assert json.loads(simulated.stdout)["crashes"] == 1
    real = CliRunner().invoke(lab, ["run", str(path), "--output", str(tmp_path / "net"), "--json"])
    assert real.exit_code == 0, real.output
    report = json.loads(real.stdout)
    assert report["heights"] == [8, 8, 8, 8]
    assert report["commit_ms"] > 0
    page = section(guide("commands.md").read_text(encoding="utf-8"), "## JSON")
    assert set(report) <= set(re.findall(r"`([\w.]+)`", page)) | {"schema"}
    log = (tmp_path / "net" / "peer0" / "logs" / "output.log").read_text()
    assert len(re.findall("peer.started", log)) == 2


def test_what_a_scenario_expects_is_held_against_the_stores(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(dump_scenario(Scenario(peers=1, heights=2, expect=Expect(heights=(5, 9)))))
    outcome = CliRunner().invoke(lab, ["run", str(path), "--json"])
    assert outcome.exit_code == 1
    assert json.loads(outcome.stdout)["violations"] == ["2 blocks are final where 5 to 9 are expected"]
