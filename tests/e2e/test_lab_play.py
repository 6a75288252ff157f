"""A scenario file runs with real processes and in virtual time, and is held to the same expectations."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from e2e.support import PATIENCE_S, child_environment
from support.pages import guide, section

from p2pfed.cli.main import cli
from p2pfed.cli.reading import open_chain, stored_status
from p2pfed.runtime.peer import read_genesis
from p2pfed.sim.expect import Expect
from p2pfed.sim.faults import Fault
from p2pfed.sim.scenario import Scenario, dump_scenario
from p2pfed.storage.home import Home
from p2pfed.storage.inspection import inspect
from p2pfed.storage.store import Store
from p2pfed.types.quality import CLASS_ONE, QUALITY_PACE


def test_pipes_processes_and_a_lie_come_to_the_same_end_in_both_worlds(tmp_path: Path) -> None:
    simulated = CliRunner().invoke(cli, ["lab", "run", "sparse", "--sim", "--json"])
    assert simulated.exit_code == 0, simulated.stderr
    report = json.loads(simulated.stdout)
    assert report["fired"] == {"disconnect": 1, "kill": 1, "pause": 1}
    real = CliRunner().invoke(cli, ["lab", "run", "sparse", "--output", str(tmp_path / "net"), "--json"])
    assert real.exit_code == 0, real.output
    report = json.loads(real.stdout)
    assert report["heights"] == [12] * 5
    assert report["commit_ms"] > 0
    page = section(guide("commands.md").read_text(encoding="utf-8"), "## JSON")
    assert set(report) <= set(re.findall(r"`([\w.]+)`", page)) | {"schema"}

    def told(peer: int, event: str) -> list[str]:
        lines = (tmp_path / "net" / f"peer{peer}" / "logs" / "output.log").read_text().splitlines()
        return [line for line in lines if f'"event": "{event}"' in line]

    assert len(told(3, "peer.started")) == 2
    assert len(told(2, "peer.slashed")) == 1
    assert len(told(1, "peer.left")) >= 3  # All its pipes broke, and opened again.
    home = tmp_path / "net" / "peer3"
    assert stored_status(Home(home))["height"] == 1_011
    assert inspect(Home(home)).problem == ""
    for flags in ((), ("--deep",), ("--independent",), ("--audit", str(tmp_path / "net" / "peer0"))):
        verified = CliRunner().invoke(cli, ["verify", "--home", str(home), *flags])
        assert verified.exit_code == 0, verified.output
    members = [json.loads(told(peer, "peer.started")[0])["id"] for peer in range(5)]
    # A stranger hands it evidence too.
    joined = {json.loads(line)["peer"] for line in told(2, "peer.joined")}
    assert joined & {*members} == {members[1], members[3]}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_ends_a_run_leaves_no_peer_behind(number: signal.Signals, tmp_path: Path) -> None:
    path, home = tmp_path / "long.toml", Home(tmp_path / "net" / "peer0")
    path.write_text(
        dump_scenario(Scenario(peers=1, heights=100_000, faults=(Fault("pause", 0, 600_000, (0,)),)))
    )
    before = signal.signal(number, signal.default_int_handler)  # A shell's background job ignores Ctrl-C.
    running = subprocess.Popen(
        [sys.executable, "-m", "p2pfed", "lab", "run", str(path), "--output", str(tmp_path / "net")],
        stderr=subprocess.PIPE,
        text=True,
        env=child_environment({}),
    )
    signal.signal(number, before)
    try:
        assert running.stderr is not None
        assert "pause" in running.stderr.readline()
        assert home.is_locked()
        running.send_signal(number)
        _, said = running.communicate(timeout=PATIENCE_S)
    finally:
        running.terminate()
        running.wait(PATIENCE_S)
    assert running.returncode == 128 + number
    assert f"stopped by {number.name}; every peer is stopped" in said
    assert not home.is_locked()
    assert "p2pfed: stopped by a signal" in (home.logs / "output.log").read_text()  # Woken first, not killed.


def test_what_a_scenario_expects_is_held_against_the_stores(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(dump_scenario(Scenario(peers=1, heights=2, expect=Expect(heights=(5, 9)))))
    outcome = CliRunner().invoke(cli, ["lab", "run", str(path), "--json"])
    assert outcome.exit_code == 1
    assert isinstance(outcome.exception, SystemExit), repr(outcome.exception)
    assert json.loads(outcome.stdout)["violations"] == ["2 blocks are final where 5 to 9 are expected"]


def test_liars_about_values_run_as_processes_and_are_held_against_what_is_expected(tmp_path: Path) -> None:
    path = tmp_path / "liars.toml"
    wrong = Expect(accuracy=0.999, convicted=(5,), refused=(5,), blamed=(5,))
    path.write_text(
        dump_scenario(
            Scenario(peers=7, heights=4, byzantine=("garbage_payload", "min_max"), expect=wrong, seed=3)
        )
    )
    outcome = CliRunner().invoke(cli, ["lab", "run", str(path), "--output", str(tmp_path / "net"), "--json"])
    assert outcome.exit_code == 1, outcome.output
    report = json.loads(outcome.stdout)
    assert (report["heights"], report["convicted"], report["refused"]) == ([4] * 7, [5], [5])
    assert report["violations"] == [
        f"accuracy {report['accuracy']:.3f} where at least 0.999 is expected",
        "peers [] are blamed where [5] are expected",
    ]
    assert 0.3 < report["accuracy"] < 0.999
    assert report["model"] == stored_model_root(tmp_path / "net" / "peer0")
    lies = (tmp_path / "net" / "peer6" / "logs" / "output.log").read_text()
    assert lies.count('"kind": "min_max"') >= 3


def test_model_and_momentum_go_back_in_processes_and_every_disk_shows_it(tmp_path: Path) -> None:
    net = tmp_path / "net"
    outcome = CliRunner().invoke(cli, ["lab", "run", "gate-momentum", "--output", str(net), "--json"])
    assert outcome.exit_code == 0, outcome.output
    assert json.loads(outcome.stdout)["returns"] >= 1
    for flag in ("--deep", "--independent"):
        verified = CliRunner().invoke(cli, ["verify", "--home", str(net / "peer0"), flag])
        assert verified.exit_code == 0, verified.output
    with open_chain(Home(net / "peer0")) as chain:
        blocks = [chain.block(height) for height in range(1, chain.height + 1)]
    words = [word for block in blocks if block is not None for word in block.body.qualities]
    paces = [word.classes[QUALITY_PACE] for word in words if len(word.classes) > QUALITY_PACE]
    assert 2 * len(paces) > len(words)  # Nobody knows the pace right after a return alone.
    assert set(paces) <= {0, CLASS_ONE}


def stored_model_root(home: Path) -> str:
    store = Store(Home(home), read_genesis(Home(home)), read_only=True)
    model = store.load_model(store.chain.height)
    store.close()
    assert model is not None
    return model.root.hex()
