"""What README and guides tell a person to type does what they say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from e2e.support import PORTS_FIRST, PORTS_LAST, Peer, child_environment, wait_until
from support.hosts import Hosts, why_not
from support.pages import GUIDES, ROOT, blocks, guide, section

from p2pfed.runtime.config import load_config
from p2pfed.runtime.demo.network import free_ports
from p2pfed.runtime.testnet import load_testnet, stop_peers

MACHINES = ("founder", "second", "third")
TOUR = blocks(guide("commands.md"))
# Not printed in the tour. A test that makes them compares their keys with the page (`json_keys`); those that
# `export` and `demo` leave in files are looked at below and by the demo's own tests.
TOLD_ELSEWHERE = {
    f"p2pfed.{name}/1"
    for name in (
        "proof", "demo", "light", "fork", "lab-sim", "lab-run", "lab-play", "lab-scenario", "transaction",
        "inspect", "rollback", "doctor", "figures", "lab-attack", "lab-rule", "lab-cell",
        "audit-contribution", "history", "block-page", "updates", "report", "view",
        "views",
    )
}  # fmt: skip
TIMEOUT_S = 150.0


def first_port(count: int) -> int:
    """Return the first of `count` free ports, elsewhere for each test process."""
    return free_ports(count, PORTS_FIRST + os.getpid() * 64 % (PORTS_LAST - PORTS_FIRST))


class Shell:
    """A folder where a person types, with `p2pfed` and `python` on the path; `host` puts it elsewhere."""

    def __init__(self, folder: Path, host: Sequence[str] = (), **environment: str) -> None:
        self.folder = folder
        self._host = list(host)
        programs = folder / "bin"
        programs.mkdir(parents=True)
        for name, arguments in (("p2pfed", "-m p2pfed "), ("python", "")):
            program = programs / name
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n')
            program.chmod(0o755)
        (folder / "examples").symlink_to(ROOT / "examples")
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        self.environment = child_environment({"PATH": path, **environment})
        self.running: list[subprocess.Popen[bytes]] = []

    def type(self, text: str) -> str:
        """Run the lines of `text` until one fails; return what they print."""
        done = subprocess.run(
            [*self._host, "bash", "-euo", "pipefail", "-c", text],
            cwd=self.folder,
            env=self.environment,
            text=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def start(self, line: str) -> None:
        """Start a command that stays in the foreground of its terminal."""
        with (self.folder / "output").open("ab") as output:
            self.running.append(
                subprocess.Popen(
                    [*self._host, "bash", "-c", f"exec {line}"], cwd=self.folder, env=self.environment,
                    stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                )
            )  # fmt: skip

    def interrupt(self) -> None:
        for process in self.running:
            process.terminate()

    def wait(self) -> None:
        for process in self.running:
            process.wait(TIMEOUT_S)
        self.running.clear()


def test_every_snippet_is_run_or_says_why_not() -> None:
    unknown = []
    for page in GUIDES:
        for block in blocks(page):
            is_run = page.name in ("commands.md", "operating.md") and not block.mark
            is_run = is_run or block.mark.startswith(("run on: ", "run at the end on: "))
            if not is_run and not re.match(r"not run: \w+|run in: ", block.mark):
                unknown.append(f"{page.name}: {block.text}")
    assert unknown == []


def test_what_a_page_repeats_from_another_is_the_same() -> None:
    repeated = [
        (page, block) for page in GUIDES for block in blocks(page) if block.mark.startswith("run in: ")
    ]
    assert repeated
    for page, block in repeated:
        source = page.parent / block.mark.removeprefix("run in: ")
        lines = {line for other in blocks(source) for line in other.text.splitlines()}
        assert [line for line in block.text.splitlines() if line not in lines] == []


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """The tour's network, running; at the end the tour's last lines stop and delete it."""
    shell = Shell(tmp_path_factory.mktemp("tour"))
    port = first_port(8)
    shell.environment["API"] = str(port + 4)
    create = f"p2pfed testnet create --port {port} --http-port {port + 4}"
    try:
        shell.type(TOUR[0].text.replace("p2pfed testnet create", create))
        yield shell
        shell.type(TOUR[-1].text)
        assert not (shell.folder / "net").exists()
    finally:
        if (shell.folder / "net").exists():
            homes = [shell.folder / "net" / peer.name for peer in load_testnet(shell.folder / "net").peers]
            stop_peers(homes)


def follow_the_operators_guide(shell: Shell) -> str:
    """Type what the operator's guide has of its own, while the network of the tour runs."""
    text = "".join(block.text for block in blocks(guide("operating.md")) if not block.mark)
    printed = shell.type(text.replace(":8400", f":{shell.environment['API']}"))
    assert len(re.findall(r"^\d+ acc\(public\)=", printed, re.M)) == 3
    assert "signed by" in printed
    return printed


def test_the_tour_and_the_operators_guide_go_as_told(shell: Shell) -> None:
    page = section(guide("commands.md").read_text(encoding="utf-8"), "## JSON")
    keys = set(re.findall(r"`([\w.]+)`", page)) | {"schema"}
    live, live_json, *stopped = TOUR[1:-1]
    printed = shell.type(live.text) + shell.type(live_json.text) + follow_the_operators_guide(shell)
    printed += "".join(shell.type(block.text) for block in stopped)
    assert "everything holds" in printed
    assert '"recomputed": 0' not in printed
    rows = [json.loads(line) for line in printed.splitlines() if line.startswith('{"schema"')]
    told = set(re.findall(r"`(p2pfed\.[a-z-]+/1)`", page))
    assert {row["schema"] for row in rows} == told - TOLD_ELSEWHERE
    proof = json.loads((shell.folder / "model.npz.proof.json").read_text())
    for row in [*rows, proof]:
        is_free = row["schema"] in ("p2pfed.event/1", "p2pfed.version/1") or "round0" in row
        assert is_free or set(row) <= keys, row["schema"]
        assert next(iter(row)) == "schema"


def folders(tmp_path: Path) -> dict[str, Shell]:
    """Three folders in place of three machines: an own home and own ports each."""
    port = first_port(6)
    return {
        name: Shell(
            tmp_path / name,
            P2PFED_HOME=str(tmp_path / name / "home"),
            P2PFED_NETWORK__PORT=str(port + place),
            P2PFED_NETWORK__ANNOUNCE="127.0.0.1",  # A machine without a network has no other address.
            P2PFED_HTTP__PORT=str(port + 3 + place),
        )
        for place, name in enumerate(MACHINES)
    }


def machines_of(hosts: Hosts, tmp_path: Path) -> dict[str, Shell]:
    """Three hosts with addresses of their own; what the guide doesn't say is as the program has it."""
    return {
        name: Shell(tmp_path / name, hosts.command(name), P2PFED_HOME=str(tmp_path / name / "home"))
        for name in MACHINES
    }


@pytest.fixture(params=["folders", "hosts"])
def machines(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Shell]]:
    if request.param == "folders":
        yield from running(folders(tmp_path))
        return
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with Hosts(MACHINES) as hosts:
        yield from running(machines_of(hosts, tmp_path))


def running(shells: dict[str, Shell]) -> Iterator[dict[str, Shell]]:
    """Give each machine the model of the guide, and stop what was started on it."""
    (model,) = [block for block in blocks(guide("your-model.md"), "python") if "def weights(" in block.text]
    for shell in shells.values():
        (shell.folder / "my_model.py").write_text(model.text, encoding="utf-8")
    try:
        yield shells
    finally:
        for shell in shells.values():
            shell.interrupt()
        for shell in shells.values():
            shell.wait()


def test_three_machines_train_one_model_by_the_guide(machines: dict[str, Shell]) -> None:
    founder, *others = machines.values()
    keys, found, join, look, keep, archives = (
        block for block in blocks(guide("three-machines.md")) if block.mark.startswith("run ")
    )
    (founder.folder / "members.txt").write_text("".join(shell.type(keys.text) for shell in machines.values()))
    init, run = found.text.splitlines()
    founder.type(init)
    founder.start(run)
    peer = Peer(founder.folder / "home")
    wait_until(peer.home.logs.exists, "the founder's log")
    printed = peer.wait("peer.join_line")["command"]
    told = join.text.strip()
    places = re.findall(r"--join (\S+) --chain (\S+)", told)[0]
    real = re.findall(r"--join (\S+) --chain (\S+)", printed)[0]
    assert printed == told.replace(places[0], real[0]).replace(places[1], real[1])
    if "P2PFED_NETWORK__ANNOUNCE" not in founder.environment:
        assert real[0].startswith("/ip4/10.77.0.1/tcp/7400/p2p/")
    for shell in others:
        shell.start(printed)
    for shell in others:
        wait_until((shell.folder / "home" / "run" / "http").exists, f"the API of {shell.folder.name}")
    machines["third"].type(look.text)
    shares = [
        load_config(shell.folder / "home" / "config.toml", {}, {}).learner for shell in machines.values()
    ]
    assert sorted(share.index for share in shares) == [0, 1, 2]
    assert {share.peers for share in shares} == {3}
    peer.wait_where("block.committed", lambda event: event["updates"] == 3, "a block with all three updates")
    for shell in machines.values():
        shell.interrupt()
    assert "everything holds" in machines["third"].type(keep.text)
    founder.type(archives.text)
