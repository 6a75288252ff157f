"""What a supervisor hears of a peer, over a real socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pfed.runtime.feed import Entry, Feed
from p2pfed.runtime.notify import Supervisor, supervised


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(60)
        yield listener


async def test_it_hears_of_the_start_each_block_life_and_the_end(heard: socket.socket) -> None:
    feed = Feed()
    variables = {"NOTIFY_SOCKET": heard.getsockname(), "WATCHDOG_USEC": "2000"}
    async with supervised(feed, variables):
        feed.publish(Entry(0, "peer.started", {"height": 3}))
        feed.publish(Entry(0, "block.committed", {"height": 4}))
        feed.publish(Entry(0, "peer.joined", {}))
        said: list[str] = []
        while said.count("WATCHDOG=1") < 3:
            said.append(await asyncio.to_thread(lambda: heard.recv(4096).decode()))
    assert [text for text in said if text != "WATCHDOG=1"] == ["READY=1\nSTATUS=height 3", "STATUS=height 4"]
    while (last := heard.recv(4096).decode()) == "WATCHDOG=1":
        pass
    assert last == "STOPPING=1"


async def test_without_a_watchdog_nobody_says_that_it_lives(heard: socket.socket) -> None:
    async with supervised(Feed(), {"NOTIFY_SOCKET": heard.getsockname()}):
        await asyncio.sleep(0)
    assert heard.recv(4096) == b"STOPPING=1"


def test_a_supervisor_that_reads_nothing_makes_nobody_wait(heard: socket.socket) -> None:
    supervisor = Supervisor({"NOTIFY_SOCKET": heard.getsockname()})
    for number in range(100_000):  # Far more than the system queues.
        supervisor.tell(f"STATUS=height {number}")
    assert heard.recv(100) == b"STATUS=height 0"


def test_nobody_listens(tmp_path: Path) -> None:
    Supervisor({}).tell("READY=1")
    Supervisor({"NOTIFY_SOCKET": str(tmp_path / "gone")}).tell("READY=1")
    assert Supervisor({"WATCHDOG_USEC": "5000000"}).watchdog_s == 0


def test_a_name_of_the_abstract_kind() -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        listener.bind("\0p2pfed-test-notify")
    except OSError:
        pytest.skip("this system knows no abstract socket names")
    listener.settimeout(60)
    Supervisor({"NOTIFY_SOCKET": "@p2pfed-test-notify"}).tell("READY=1")
    assert listener.recv(100) == b"READY=1"
