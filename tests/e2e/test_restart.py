"""Stop peers politely, all at once, or with their parent, and start them again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from e2e.judge import BACK_MS_MAX, GAP_MS_MAX, Signatures, slowness, verdict, wait_for_precommit
from e2e.support import PATIENCE_S, child_environment, create, network, p2pfed, wait_until

from p2pfed.runtime.testnet import running_pid

HUNG = Path(__file__).with_name("hung.py")
STOP_MS_MAX = 3_000


def test_all_peers_go_on_after_a_power_cut(tmp_path: Path) -> None:
    """On tcp: `benchmarks/crashes.py` cuts the power on libp2p too, where eight starts take half a minute."""
    said = Signatures()
    with network(tmp_path / "net") as net:
        net.wait_for_height(3)
        for peer in net.peers:
            peer.send(signal.SIGKILL)
        for peer in net.peers:
            peer.wait_for_end()
            said.add_record(peer.home)
        height, marks = max(peer.height for peer in net.peers), [peer.mark() for peer in net.peers]
        net.start()
        up_ms = max(
            peer.wait("peer.started", after=mark)["time_ms"]
            for peer, mark in zip(net.peers, marks, strict=True)
        )
        for peer in net.peers:
            final = peer.wait_for_height(height + 2)
            assert final["time_ms"] - up_ms <= (GAP_MS_MAX + BACK_MS_MAX["tcp"]) * slowness()
        codes = [peer.stop() for peer in net.peers]
    assert codes == [128 + signal.SIGTERM] * 4
    assert verdict(net, said) == []


def test_without_more_than_two_thirds_heights_halt_until_the_stake_returns(tmp_path: Path) -> None:
    with network(tmp_path / "net") as net:
        net.wait_for_height(2)
        stays, leaves = net.peers[:2], net.peers[2:]
        for peer in leaves:
            peer.stop()

        def status() -> dict[str, object]:
            found = json.loads(p2pfed("status", "--home", stays[0].home.path, "--json").stdout)
            return found if found["is_halted"] else {}

        halted = wait_until(status, "status to say that the network is halted")
        assert (halted["stake_connected"], halted["stake_total"]) == (20, 40)
        assert "halted" in p2pfed("status", "--home", stays[0].home.path).stdout
        assert stays[0].height - halted["height"] in (-1, 0, 1)  # Votes that were under way may still decide.
        height, mark = stays[0].height, leaves[0].mark()
        leaves[0].start()
        back_ms = leaves[0].wait("peer.started", after=mark)["time_ms"]
        for peer in stays:
            assert (
                peer.wait_for_height(height + 2)["time_ms"] - back_ms
                <= (GAP_MS_MAX + BACK_MS_MAX["tcp"]) * slowness()
            )
        mark = leaves[1].mark()
        leaves[1].start()
        leaves[1].wait("peer.started", after=mark)
        wait_for_precommit(net, leaves[1], height)


def test_killing_the_parent_of_a_testnet_changes_nothing(tmp_path: Path) -> None:
    net = create(tmp_path / "net")
    start = f"{sys.executable} -m p2pfed testnet start {net.folder} && echo started && exec cat"
    parent = subprocess.Popen(
        ["sh", "-c", start],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=child_environment({}),
    )
    try:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"started\n"
        os.killpg(parent.pid, signal.SIGKILL)
        parent.wait()
        net.wait_for_height(3)
        assert all(running_pid(peer.home.path) is not None for peer in net.peers)
    finally:
        stopped = p2pfed("testnet", "stop", net.folder)
    assert stopped.stderr == "stopped peer0, peer1, peer2, peer3\n"
    assert verdict(net, Signatures()) == []


def test_a_hung_learner_stops_neither_the_votes_of_its_peer_nor_its_end(tmp_path: Path) -> None:
    with network(tmp_path / "net", 4, "tcp", "--app", f"{HUNG}:learner") as net:
        hung = net.peers[3]
        wait_for_precommit(net, hung, 0)
        committed = net.peers[0].wait_for_height(3)
        assert hung.wait("peer.started")["id"] not in committed["trainers"]
        assert committed["updates"] == 3
        for number, peer in ((signal.SIGTERM, hung), (signal.SIGINT, net.peers[0])):
            workers = _children(peer.process.pid)
            assert workers
            asked = time.monotonic()
            assert peer.stop(number) == 128 + number
            assert (time.monotonic() - asked) * 1000 <= STOP_MS_MAX * slowness()
            wait_until(lambda left=workers: not _alive(left), "the workers to be gone", PATIENCE_S)
        assert "Traceback" not in hung.output + net.peers[0].output


def _children(pid: int) -> list[int]:
    """Return the processes that `pid` started."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, check=False).stdout
    return [int(text) for text in found.split()]


def _alive(pids: list[int]) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=,stat=", "-p", ",".join(map(str, pids))], capture_output=True)
    rows = [line.split() for line in found.stdout.splitlines()]
    return [int(pid) for pid, state in rows if not state.startswith(b"Z")]
