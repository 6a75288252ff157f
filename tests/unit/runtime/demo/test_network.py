"""A network of processes: what they say is collected, and none is left behind however the run ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from p2pfed.errors import LocalError
from p2pfed.runtime import testnet
from p2pfed.runtime.demo import network
from p2pfed.runtime.demo.network import NetworkRun, Terminated, free_ports, run_network

SAYS = """
import json, os, sys, time
def say(**event): print(json.dumps(event), file=sys.stderr, flush=True)
"""
HELLO = f"{SAYS}\nprint('no event', file=sys.stderr)\nsay(event='hello')\nsys.exit(3)"
LIVES = f"{SAYS}\nsay(event='pid', pid=os.getpid())\ntime.sleep(600)"
DEAF = f"import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n{LIVES}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A testnet folder whose peers run the program in `program.py` in place of p2pfed."""
    for name in ("peer0", "peer1"):
        (tmp_path / name / "logs").mkdir(parents=True)
    runner = tmp_path / "python"
    runner.write_text(f'#!/bin/sh\nexec {sys.executable} {tmp_path / "program.py"} "$@"\n')
    runner.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(runner))
    monkeypatch.setattr(network, "STOP_S", 0.5)
    return tmp_path


def made(folder: Path, program: str) -> testnet.Testnet:
    (folder / "program.py").write_text(program)
    peers = [testnet.TestnetPeer(f"peer{index}", "", 0, 0, "", "127.0.0.1") for index in range(2)]
    return testnet.Testnet("00", tuple(peers))


def run(folder: Path, program: str, timeout_s: float = 60, on_event: Any = lambda *_: None) -> NetworkRun:
    return asyncio.run(run_network(folder, made(folder, program), timeout_s, on_event))


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def pids(run_or_heard: list[tuple[str, dict[str, Any]]]) -> list[int]:
    return [event["pid"] for _, event in run_or_heard]


def test_events_exit_codes_and_the_rest_of_the_output_are_kept(folder: Path) -> None:
    heard: list[tuple[str, dict[str, Any]]] = []
    done = run(folder, HELLO, on_event=lambda *event: heard.append(event))
    assert sorted(name for name, _ in done.events) == ["peer0", "peer1"]
    assert done.events == heard
    assert all(event == {"event": "hello"} for _, event in done.events)
    assert done.exit_codes == {"peer0": 3, "peer1": 3}
    assert not done.is_overdue
    assert (folder / "peer0/logs/output.log").read_text() == 'no event\n{"event": "hello"}\n'


def test_peers_that_never_end_are_stopped_at_the_deadline_even_deaf_ones(folder: Path) -> None:
    done = run(folder, DEAF, timeout_s=2)
    assert done.is_overdue
    assert set(done.exit_codes.values()) == {-signal.SIGKILL}
    assert not any(map(is_alive, pids(done.events)))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_whatever_ends_us_ends_the_peers_first(number: signal.Signals, folder: Path) -> None:
    heard: list[tuple[str, dict[str, Any]]] = []

    def on_event(*event: Any) -> None:
        heard.append(event)
        if len(heard) == 2:  # Both run; an impatient person presses twice.
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)

    usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    before = signal.signal(number, usual)  # nohup, or a shell's background, may have let us ignore it.
    try:
        with pytest.raises(Terminated, match=number.name) as ended:
            run(folder, LIVES, on_event=on_event)
        assert signal.getsignal(number) == usual
    finally:
        signal.signal(number, before)
    assert ended.value.exit_code == 128 + number
    assert len(heard) == 2
    assert not any(map(is_alive, pids(heard)))


def test_a_row_of_free_ports_is_found_and_a_taken_one_passed_over() -> None:
    with socket.socket() as sock:
        # Below the ports that the system gives away, some of which lie beyond the last one looked at.
        first = free_ports(3, 20_000)
        taken = first + 1
        sock.bind(("127.0.0.1", taken))
        sock.listen()
        found = free_ports(3, first)
        assert found > taken
        assert (found - first) % network.PORT_STEP == 0
        with pytest.raises(LocalError, match="no 3 free ports in a row"):
            free_ports(3, network.PORT_LAST)
