"""The demonstration end to end: a green verdict, its files, and no process left behind by Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from e2e.support import TRANSPORTS, child_environment, p2pfed, wait_until

from p2pfed.runtime.testnet import load_testnet, running_pid


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_four_peers_with_a_liar_train_and_every_check_holds(transport: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = p2pfed(
        "demo", "--peers", "4", "--byzantine", "1:sign_flip", "--heights", "5",
        "--transport", transport, "--out", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    verdict = json.loads((out / "verdict.json").read_text())
    assert next(iter(verdict)) == "schema"
    assert verdict["held"]
    assert [check["is_held"] for check in verdict["checks"]] == [True] * 6
    assert "everything held" in done.stdout
    assert all(f"  ok     {check['name']}: " in done.stdout for check in verdict["checks"])
    labels = [training["label"] for training in verdict["trainings"]]
    assert len(labels) == 3
    assert [("in process" in label) for label in labels] == [False, True, True]
    network, attacked, clean = (training["accuracy"] for training in verdict["trainings"])
    assert clean > 0.8
    assert network > attacked
    assert verdict["comparison"] in done.stdout
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    committed = {
        (event["peer_name"], event["height"]) for event in events if event["event"] == "block.committed"
    }
    assert {(f"peer{peer}", height) for peer in range(3) for height in range(1, 6)} <= committed
    measured = {
        event["peer_name"]
        for event in events
        if event["event"] == "block.evaluated" and event["height"] == 5 and "acc(public)" in event
    }
    assert measured == {f"peer{peer}" for peer in range(4)}  # Nobody leaves before its last figures came.
    assert {event["peer_name"] for event in events if event["event"] == "adversary.acted"} == {"peer3"}
    picture = ElementTree.parse(out / "chart.svg").getroot()
    assert picture.tag.endswith("svg")
    report = (out / "report.html").read_text()
    assert all(check["name"] in report for check in verdict["checks"])
    assert "<th scope=row>liars</th>" in report
    assert all(any(label in (text.text or "") for text in picture.iter()) for label in labels)
    assert "Traceback" not in "".join(path.read_text() for path in out.glob("*/logs/output.log"))
    again = p2pfed("verify", "--deep", "--home", out / "peer0")  # The line that the demonstration ends with.
    assert f"p2pfed verify --deep --home {out / 'peer0'}" in done.stdout
    assert again.returncode == 0


def test_a_check_that_fails_ends_the_demonstration_with_exit_code_1(tmp_path: Path) -> None:
    """The liar lies when it proposes, which with one part of three thousand of the stake it never does."""
    done = p2pfed(
        "demo", "--peers", "2", "--byzantine", "1:wrong_aggregate", "--stake", "3000,1", "--rules", "mean",
        "--heights", "1", "--json", "--out", tmp_path / "out",
    )  # fmt: skip
    verdict = json.loads(done.stdout)
    assert done.returncode == 1, done.stdout + done.stderr
    assert not verdict["held"]
    assert [check["name"] for check in verdict["checks"] if not check["is_held"]] == ["the liars were active"]


def test_ctrl_c_leaves_no_process_behind(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "p2pfed", "demo", "--peers", "2", "--heights", "10000", "--out", "out",
         "--rules", "mean"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env=child_environment({}), start_new_session=True,
    )  # fmt: skip
    assert process.stderr is not None
    assert next((line for line in process.stderr if "block.committed" in line), None)
    made = load_testnet(tmp_path / "out")
    pids = [
        wait_until(lambda p=peer: running_pid(tmp_path / "out" / p.name), peer.name) for peer in made.peers
    ]
    os.killpg(process.pid, signal.SIGINT)  # As a terminal does: everybody in the foreground hears it.
    printed, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.splitlines()[-1] == "p2pfed: stopped by SIGINT; every peer is stopped"
    assert "Traceback" not in said
    assert printed == ""
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert all(running_pid(tmp_path / "out" / peer.name) is None for peer in made.peers)
