"""`testnet start` returns when the peers answer, and names one that ended instead."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from p2pfed.cli import testnet
from p2pfed.errors import LocalError, UsageError
from p2pfed.storage.home import Home

Wait = Callable[[int], None]


@pytest.fixture
def wait(tmp_path: Path) -> Wait:
    home = Home(tmp_path / "peer0")
    home.create()
    return lambda pid: asyncio.run(testnet._wait_until_it_answers(home, pid, time.monotonic() + 30))


def test_a_peer_that_ends_at_once_is_named(wait: Wait) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    with pytest.raises(LocalError, match=r"peer0 ended at once.*output\.log"):
        wait(process.pid)


def test_a_peer_answers_when_its_api_does(wait: Wait, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([None, None, {"height": 0}])
    monkeypatch.setattr(testnet, "ask_status", lambda _: next(answers))
    monkeypatch.setattr(Home, "is_locked", lambda _: True)
    monkeypatch.setattr(os, "waitpid", lambda *_: (0, 0))
    wait(1)
    assert next(answers, "asked until it answered") == "asked until it answered"


def test_several_peers_need_a_port_that_others_know(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--port 0"):
        testnet.create.main(["--port", "0", "-o", str(tmp_path / "net")], standalone_mode=False)
    assert not (tmp_path / "net").exists()
    testnet.create.main(["--port", "0", "--peers", "1", "-o", str(tmp_path / "net")], standalone_mode=False)
